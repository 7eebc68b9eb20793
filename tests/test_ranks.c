/* Sums of gradients over parts of a batch, by one rank; tests/mpi.sh holds several to the same bits. */
#include "engine_desk.h"
#include "tapehead/ranks.h"

#define MANY 70001 /* more than a bucket has */

static th_ranks *ranks;
static th_params *set;
static th_error error;

static void begin(void) {
  th_init normal = {.kind = TH_INIT_NORMAL, .scale = 0.5};
  cr_assert(th_ranks_join(&ranks, NULL) == TH_OK);
  set = th_params_new();
  th_params_add(set, NULL, "a", normal, SHAPE(3, 5));
  th_params_add(set, NULL, "b", normal, SHAPE(MANY));
  th_params_add(set, NULL, "c", normal, SHAPE(2, 3));
  cr_assert(th_params_make(set, TH_F32, 6, NULL) == TH_OK);
  error = (th_error){0};
}

static void end(void) {
  th_params_free(set);
  th_ranks_leave(ranks, true);
}

TestSuite(ranks, .init = begin, .fini = end);

/* The gradient of a part, of which no sum is exact. */
static void fill_part(int64_t part) {
  for (int i = 0; i < th_params_count(set); i++)
    th_fill_normal(&th_params_at(set, i)->grad, 0, pow(10, (double)(part % 3)),
                   (th_random){7, (uint64_t)(part * 8 + i)});
}

static th_sharing *summed(int64_t parts) {
  th_sharing *sharing;
  int64_t first, last;
  cr_assert(th_sharing_new(&sharing, ranks, set, parts, &error) == TH_OK, "%s", error.text);
  th_sharing_parts(sharing, &first, &last);
  cr_assert(first == 0 && last == parts, "one rank has all parts");
  for (int round = 0; round < 2; round++) /* nothing of the first is left */
    for (int64_t p = first; p < last; p++) {
      th_sharing_begin(sharing);
      fill_part(p + (round ? 0 : 100));
      cr_assert(th_sharing_end(sharing, &error) == TH_OK, "%s", error.text);
    }
  return sharing;
}

/* The tree, top down: halves of [first, first + count). */
static float plain_sum(const float *parts, int64_t elements, int64_t first, int64_t count, int64_t i) {
  if (count == 1) return parts[first * elements + i];
  return plain_sum(parts, elements, first, count / 2, i) +
         plain_sum(parts, elements, first + count / 2, count / 2, i);
}

Test(ranks, parts_are_added_as_a_binary_tree) {
  desk d = desk_open();
  th_tensor grads = th_params_grads(set);
  int64_t n = grads.shape[0];
  float *each = desk_bytes(&d, 16 * n * (int64_t)sizeof *each);
  for (int64_t p = 0; p < 16; p++) {
    th_params_zero_grads(set);
    fill_part(p);
    memcpy(each + p * n, grads.data, (size_t)n * sizeof *each);
  }
  for (int64_t parts = 1; parts <= 16; parts *= 2) {
    th_sharing *sharing = summed(parts);
    for (int64_t i = 0; i < n; i++)
      cr_assert(((float *)grads.data)[i] == plain_sum(each, n, 0, parts, i), "%d parts: element %d",
                (int)parts, (int)i);
    th_sharing_free(sharing);
  }
  desk_close(&d);
}

Test(ranks, the_norm_is_that_of_the_whole_vector_and_limits_it) {
  for (int64_t parts = 1; parts <= 8; parts *= 8) {
    th_sharing *sharing = summed(parts);
    double norm, wanted = th_clip_grad_norm(set, 0), before = th_tensor_get(&th_params_at(set, 1)->grad, 9);
    cr_assert(th_sharing_clip(sharing, wanted / 4, &norm, &error) == TH_OK);
    cr_expect(parts == 1 ? norm == wanted : fabs(norm / wanted - 1) < 1e-14, "%.17g, not %.17g", norm,
              wanted);
    cr_expect(fabs(th_clip_grad_norm(set, 0) / wanted * 4 - 1) < 1e-6);
    cr_expect(fabs(th_tensor_get(&th_params_at(set, 1)->grad, 9) / before * 4 - 1) < 1e-6);
    cr_assert(th_sharing_clip(sharing, wanted, &norm, &error) == TH_OK);
    cr_expect(fabs(th_clip_grad_norm(set, 0) / wanted * 4 - 1) < 1e-6, "below the limit nothing changes");
    th_sharing_free(sharing);
  }
}

Test(ranks, spans_of_one_rank_are_all_of_the_vector_in_order) {
  int count;
  th_sharing *sharing = summed(4);
  const th_span *span = th_sharing_spans(sharing, &count);
  int64_t at = 0;
  cr_expect(count > 1);
  for (int i = 0; i < count; at = span[i++].end) cr_assert(span[i].begin == at && span[i].begin % 16 == 0);
  cr_expect(at == th_params_values(set).shape[0]);
  th_sharing_free(sharing);
}

Test(ranks, pieces_of_a_whole_vector_make_it_again) {
  th_tensor whole, pieces, again;
  const int64_t *shape = th_params_values(set).shape;
  th_sharing *sharing = summed(4);
  for (int i = 0; i < 3; i++)
    cr_assert(th_tensor_new((th_tensor *[]){&whole, &pieces, &again}[i], TH_F32, 1, shape, NULL) == TH_OK);
  th_fill_normal(&whole, 0, 1, (th_random){1, 2});
  th_sharing_pieces(sharing, &whole, &pieces);
  cr_assert(th_sharing_whole(sharing, &pieces, &again, &error) == TH_OK);
  cr_expect(first_difference(&whole, &again, 0) < 0);
  th_tensor_free(&whole), th_tensor_free(&pieces), th_tensor_free(&again);
  th_sharing_free(sharing);
}

Test(ranks, refuses_parts_that_make_no_tree) {
  static const int64_t wrong[] = {0, -2, 3, 12, 1 << 20};
  th_sharing *sharing;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    cr_expect(th_sharing_new(&sharing, ranks, set, wrong[i], &error) == TH_EINVAL && !sharing, "%d",
              (int)wrong[i]);
  cr_assert(th_sharing_new(&sharing, ranks, set, 12, &error) == TH_EINVAL);
  cr_expect_str_eq(error.text, "12 parts for 1 rank: want a power of two, and one for each rank");
  th_sharing_free(NULL);
}

Test(ranks, one_rank_is_the_first_and_talks_to_itself) {
  double numbers[] = {1, 2};
  int told = 3;
  cr_expect(th_ranks_rank(ranks) == 0 && th_ranks_count(ranks) == 1 && !th_ranks_lost(ranks));
  cr_expect(th_ranks_sum(ranks, numbers, 2, NULL) == TH_OK && numbers[0] == 1 && numbers[1] == 2);
  cr_expect(th_ranks_tell(ranks, &told, sizeof told, NULL) == TH_OK && told == 3);
}
