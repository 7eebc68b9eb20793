/* Byte-pair encoding: which pairs of neighbours become one token, learned and applied.
 *
 * Sennrich, Haddow & Birch 2016, "Neural Machine Translation of Rare Words with Subword Units", section 3.2,
 * algorithm 1: the pair that stands side by side most often becomes a symbol of its own, again and again.
 * Counts are kept up to date where a pair was joined instead of counted anew, and a queue gives the next. */
#include "private.h"

#include <stdlib.h>
#include <string.h>

#define NOWHERE SIZE_MAX

/* The array with room for one more; NULL, and the old one stays: no memory. */
static void *with_room(void *array, size_t count, size_t *room, size_t size) {
  if (count < *room) return array;
  size_t wanted = *room ? 2 * *room : 64;
  void *grown = reallocarray(array, wanted, size);
  if (grown) *room = wanted;
  return grown;
}

/* ---- a table from pairs to numbers ----------------------------------------------------------- */

/* Open addressing: linear probing, a power of two of slots, at most half of them taken. Key 0 is an empty
 * slot, as no pair begins with <pad>. */

static uint64_t key_of(int32_t left, int32_t right) { return (uint64_t)left << 32 | (uint32_t)right; }

/* The key's slot, or the empty one where it belongs. */
static size_t slot_of(const th_pairs *table, uint64_t key) {
  uint64_t hash = key; /* the last steps of splitmix64 (Steele, Lea & Flood 2014) */
  hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ hash >> 27) * 0x94d049bb133111ebu;
  size_t slot = (hash ^ hash >> 31) & (table->room - 1);
  while (table->slots[slot].key && table->slots[slot].key != key) slot = (slot + 1) & (table->room - 1);
  return slot;
}

/* -1: not there. */
static int32_t number_of(const th_pairs *table, int32_t left, int32_t right) {
  if (!table->count) return -1;
  uint64_t key = key_of(left, right);
  const th_pair_slot *slot = &table->slots[slot_of(table, key)];
  return slot->key == key ? slot->number : -1;
}

/* For a pair that is not there. False: no memory. */
static bool put_pair(th_pairs *table, int32_t left, int32_t right, int32_t number) {
  if (2 * table->count >= table->room) {
    th_pairs grown = {.room = table->room ? 2 * table->room : 256};
    grown.slots = calloc(grown.room, sizeof *grown.slots);
    if (!grown.slots) return false;
    for (size_t i = 0; i < table->room; i++)
      if (table->slots[i].key) grown.slots[slot_of(&grown, table->slots[i].key)] = table->slots[i];
    grown.count = table->count;
    free(table->slots);
    *table = grown;
  }
  uint64_t key = key_of(left, right);
  table->slots[slot_of(table, key)] = (th_pair_slot){key, number};
  table->count++;
  return true;
}

/* ---- a queue: what is least comes first ------------------------------------------------------- */

typedef struct entry {
  int64_t order;
  size_t item;
} entry;

typedef struct queue { /* a binary heap */
  entry *heap;
  size_t count, room;
  int (*tie)(const void *context, size_t a, size_t b); /* of items of one order; NULL: by number */
  const void *context;
} queue;

static bool comes_first(const queue *q, entry a, entry b) {
  if (a.order != b.order) return a.order < b.order;
  return q->tie ? q->tie(q->context, a.item, b.item) < 0 : a.item < b.item;
}

/* False: no memory. */
static bool push(queue *q, int64_t order, size_t item) {
  entry added = {order, item};
  entry *heap = with_room(q->heap, q->count, &q->room, sizeof *heap);
  if (!heap) return false;
  q->heap = heap;
  size_t i = q->count++;
  for (; i && comes_first(q, added, heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
  heap[i] = added;
  return true;
}

/* Of a queue that is not empty. */
static entry pop(queue *q) {
  entry first = q->heap[0], last = q->heap[--q->count];
  size_t i = 0;
  for (size_t child; (child = 2 * i + 1) < q->count; i = child) {
    if (child + 1 < q->count && comes_first(q, q->heap[child + 1], q->heap[child])) child++;
    if (!comes_first(q, q->heap[child], last)) break;
    q->heap[i] = q->heap[child];
  }
  q->heap[i] = last;
  return first;
}

/* ---- symbols in a row ------------------------------------------------------------------------- */

/* A token in a text. Special tokens have no pairs: <pad> stands at both ends and between words. */
typedef struct symbol {
  int32_t id;            /* TH_PAD, too, for what has been joined to the symbol before it */
  size_t before, behind; /* its neighbours */
  size_t earlier, later; /* while learning: the places of the same pair */
  int64_t weight;        /* while learning: how often its word was seen */
} symbol;

/* Joins the symbol at `at` and the one behind it into one. */
static void join(symbol *row, size_t at, int32_t id) {
  size_t gone = row[at].behind, behind = row[gone].behind;
  row[at].id = id;
  row[at].behind = behind;
  row[behind].before = at;
  row[gone].id = TH_PAD;
}

/* ids[0 .. count) between two <pad>. NULL: no memory. */
static symbol *row_of(const int32_t *ids, size_t count) {
  symbol *row = calloc(count + 2, sizeof *row);
  for (size_t i = 0; row && i < count + 2; i++)
    row[i] = (symbol){.id = i && i <= count ? ids[i - 1] : TH_PAD, .before = i - (i > 0), .behind = i + 1};
  return row;
}

static bool is_pair(const symbol *row, size_t at) {
  return row[at].id >= TH_SPECIALS && row[row[at].behind].id >= TH_SPECIALS;
}

/* ---- merges ----------------------------------------------------------------------------------- */

void th_bpe_free(th_bpe *bpe) {
  free(bpe->merges);
  free(bpe->ranks.slots);
  *bpe = (th_bpe){0};
}

bool th_bpe_add(th_bpe *bpe, int32_t left, int32_t right) {
  th_merge *merges = with_room(bpe->merges, bpe->count, &bpe->room, sizeof *merges);
  if (!merges) return false;
  bpe->merges = merges;
  if (!put_pair(&bpe->ranks, left, right, (int32_t)bpe->count)) return false;
  merges[bpe->count++] = (th_merge){left, right};
  return true;
}

static bool push_rank(const th_bpe *bpe, queue *q, const symbol *row, size_t at) {
  int32_t rank = is_pair(row, at) ? number_of(&bpe->ranks, row[at].id, row[row[at].behind].id) : -1;
  return rank < 0 || push(q, rank, at);
}

/* A merge's tokens are older than what it makes, so a join never gives rise to a pair that should have been
 * joined before it. An entry may be out of date: then the pair at its place is another. */
bool th_bpe_apply(const th_bpe *bpe, int32_t *ids, size_t *count) {
  if (!bpe->count || !*count) return true;
  queue q = {0};
  symbol *row = row_of(ids, *count);
  bool enough = row != NULL;
  for (size_t i = 1; enough && i < *count; i++) enough = push_rank(bpe, &q, row, i);
  while (enough && q.count) {
    entry first = pop(&q);
    const th_merge *merge = &bpe->merges[first.order];
    if (row[first.item].id != merge->left || row[row[first.item].behind].id != merge->right) continue;
    join(row, first.item, bpe->first + (int32_t)first.order);
    enough = push_rank(bpe, &q, row, row[first.item].before) && push_rank(bpe, &q, row, first.item);
  }
  if (enough) {
    size_t last = *count + 1, kept = 0;
    for (size_t i = row[0].behind; i != last; i = row[i].behind) ids[kept++] = row[i].id;
    *count = kept;
  }
  free(q.heap);
  free(row);
  return enough;
}

/* ---- learning --------------------------------------------------------------------------------- */

typedef struct pair {
  int32_t left, right;
  int64_t count;      /* weights of its places */
  size_t first, last; /* of its places, which are linked in the order of the text */
} pair;

typedef struct learner {
  th_vocabulary *vocabulary;
  symbol *row;
  pair *pairs;
  size_t count, room;
  th_pairs numbers; /* of pairs */
  queue queue;      /* of pairs by -count; a count that has fallen since is seen when it comes out */
  int64_t least;    /* count of a pair that is joined */
} learner;

/* So that ties do not depend on the order of the texts. */
static int by_texts(const void *context, size_t a, size_t b) {
  const learner *l = context;
  const pair *x = &l->pairs[a], *y = &l->pairs[b];
  int order =
      strcmp(th_vocabulary_token(l->vocabulary, x->left), th_vocabulary_token(l->vocabulary, y->left));
  return order ? order
               : strcmp(th_vocabulary_token(l->vocabulary, x->right),
                        th_vocabulary_token(l->vocabulary, y->right));
}

/* The pair that begins at `at` is there from now on. False: no memory. */
static bool enter(learner *l, size_t at) {
  symbol *s = &l->row[at];
  if (!is_pair(l->row, at)) return true;
  int32_t right = l->row[s->behind].id, number = number_of(&l->numbers, s->id, right);
  if (number < 0) {
    pair *pairs = l->count < INT32_MAX ? with_room(l->pairs, l->count, &l->room, sizeof *pairs) : NULL;
    if (!pairs) return false;
    l->pairs = pairs;
    number = (int32_t)l->count;
    if (!put_pair(&l->numbers, s->id, right, number)) return false;
    pairs[l->count++] = (pair){.left = s->id, .right = right, .first = NOWHERE, .last = NOWHERE};
  }
  pair *p = &l->pairs[number];
  p->count += s->weight;
  s->earlier = p->last;
  s->later = NOWHERE;
  if (p->last == NOWHERE) p->first = at;
  else l->row[p->last].later = at;
  p->last = at;
  return true;
}

/* ... is about to go. */
static void leave(learner *l, size_t at) {
  const symbol *s = &l->row[at];
  if (!is_pair(l->row, at)) return;
  pair *p = &l->pairs[number_of(&l->numbers, s->id, l->row[s->behind].id)];
  p->count -= s->weight;
  if (s->earlier == NOWHERE) p->first = s->later;
  else l->row[s->earlier].later = s->later;
  if (s->later == NOWHERE) p->last = s->earlier;
  else l->row[s->later].earlier = s->earlier;
}

/* Pairs met since there were `known`. Their counts only fall from here on: a pair comes into being where the
 * younger of its tokens does. */
static bool queue_new(learner *l, size_t known) {
  bool enough = true;
  for (size_t i = known; enough && i < l->count; i++)
    if (l->pairs[i].count >= l->least) enough = push(&l->queue, -l->pairs[i].count, i);
  return enough;
}

/* Joins a pair wherever it stands, from left to right: of "aaa" the first two. */
static bool join_all(learner *l, size_t number, int32_t id) {
  size_t known = l->count;
  bool enough = true;
  for (size_t at; enough && (at = l->pairs[number].first) != NOWHERE;) {
    size_t before = l->row[at].before;
    leave(l, before);
    leave(l, at);
    leave(l, l->row[at].behind);
    join(l->row, at, id);
    enough = enter(l, before) && enter(l, at);
  }
  return enough && queue_new(l, known);
}

/* Gives the pair's text an id. TH_EFORMAT: the text is taken. */
static th_status name_pair(learner *l, const pair *p) {
  const char *left = th_vocabulary_token(l->vocabulary, p->left);
  const char *right = th_vocabulary_token(l->vocabulary, p->right);
  size_t left_length = strlen(left), right_length = strlen(right);
  char *text = malloc(left_length + right_length + 1);
  if (!text) return TH_ENOMEM;
  memcpy(text, left, left_length);
  memcpy(text + left_length, right, right_length + 1);
  th_status status = th_vocabulary_append(l->vocabulary, text, left_length + right_length, NULL);
  free(text);
  return status;
}

static th_status learn(learner *l, th_bpe *bpe, int64_t merges) {
  th_status status = queue_new(l, 0) ? TH_OK : TH_ENOMEM;
  bpe->first = th_vocabulary_count(l->vocabulary);
  while (status == TH_OK && (int64_t)bpe->count < merges && l->queue.count) {
    entry top = pop(&l->queue);
    pair p = l->pairs[top.item];
    if (p.count < l->least) continue;
    if (p.count != -top.order) {
      if (!push(&l->queue, -p.count, top.item)) status = TH_ENOMEM;
      continue;
    }
    status = name_pair(l, &p);
    if (status == TH_EFORMAT) { /* "<pad>" and its like stay in pieces */
      status = TH_OK;
      continue;
    }
    int32_t id = bpe->first + (int32_t)bpe->count;
    if (status == TH_OK && !(th_bpe_add(bpe, p.left, p.right) && join_all(l, top.item, id)))
      status = TH_ENOMEM;
  }
  return status;
}

th_status th_bpe_learn(th_bpe *bpe, th_vocabulary *vocabulary, const int32_t *ids, const int64_t *weights,
                       size_t count, int64_t merges, int64_t least) {
  learner l = {.vocabulary = vocabulary, .row = row_of(ids, count), .least = least < 2 ? 2 : least};
  l.queue.tie = by_texts;
  l.queue.context = &l;
  bool enough = l.row != NULL;
  for (size_t i = 1; enough && i <= count; i++) l.row[i].weight = weights[i - 1];
  for (size_t i = 1; enough && i <= count; i++) enough = enter(&l, i);
  th_status status = enough ? learn(&l, bpe, merges) : TH_ENOMEM;
  free(l.row);
  free(l.pairs);
  free(l.numbers.slots);
  free(l.queue.heap);
  return status;
}
