/* Parameters and layers: linear, embedding, layer norm, positions, multi-head attention, feed-forward,
 * encoder and decoder layers; the Transformer of Vaswani et al. 2017, whole or one half of it; and the search
 * for what it has to say.
 *
 * A layer is a plain struct that names its parameters; th_nn_X_make declares them in a parameter set,
 * th_nn_X puts the layer's ops on the tape. */
#ifndef TAPEHEAD_NN_H
#define TAPEHEAD_NN_H

#include "tapehead/autograd.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- parameters -------------------------------------------------------------------------------- */

typedef enum {
  TH_INIT_ZEROS,
  TH_INIT_ONES,
  TH_INIT_NORMAL,   /* mean 0, deviation `scale` */
  TH_INIT_CONSTANT, /* `scale` */
  TH_INIT_BLOCKS,   /* of n rows, row i has ones in the i-th of n equal parts of the columns, else zeros */
  TH_INIT_XAVIER    /* uniform in +-sqrt(6 / (fan in + fan out)): Glorot & Bengio 2010, equation 16 */
} th_init_kind;

typedef struct th_init {
  th_init_kind kind;
  double scale;
  int64_t fan_out; /* Xavier: of each of several matrices, one under the other; 0: all rows are one */
} th_init;

#define TH_NAME_MAX 96

typedef struct th_param {
  char name[TH_NAME_MAX]; /* unique in its set; the name in a checkpoint */
  th_init init;
  th_tensor value, grad; /* data is NULL until th_params_make */
  bool decays; /* weight decay acts on it: true for more than one axis, so not for biases and norms */
  double rate; /* the learning rate is multiplied by it: 1, if nobody says otherwise */
} th_param;

/* Owns every parameter of a model: values in one block, gradients in another, so that an optimizer is
 * one loop. The first failure while declaring is kept and reported by th_params_make. */
typedef struct th_params th_params;

th_params *th_params_new(void); /* NULL: no memory */
void th_params_free(th_params *set);

/* Declares one; `name` is "prefix.suffix", or only suffix where prefix is NULL or empty. The pointer stays
 * valid as long as the set. NULL after a failure, which th_params_make reports. */
th_param *th_params_add(th_params *set, const char *prefix, const char *suffix, th_init init, int ndim,
                        const int64_t *shape);
/* For a layer that cannot be declared as asked: keeps the error, if it is the first, for th_params_make. */
void th_params_refuse(th_params *set, th_status status, const char *name, const char *why);
/* Gives all declared parameters their memory and first values, which depend on seed and order only. Once. */
th_status th_params_make(th_params *set, th_dtype dtype, uint64_t seed, th_error *error);

int th_params_count(const th_params *set);
th_param *th_params_at(const th_params *set, int index);
th_param *th_params_find(const th_params *set, const char *name); /* NULL: there is none */
int64_t th_params_elements(const th_params *set);                 /* numbers in all parameters */
/* All values, or all gradients, as one vector; padding between parameters is 0. */
th_tensor th_params_values(const th_params *set);
th_tensor th_params_grads(const th_params *set);
/* Of a vector like these (gradients, moments, averages) the part that belongs to `param`, in its shape. */
th_tensor th_params_part(const th_params *set, const th_param *param, const th_tensor *vector);
void th_params_zero_grads(th_params *set);
th_status th_params_copy(th_params *to, const th_params *from, th_error *error); /* by name, across types */

th_var *th_use(th_tape *tape, const th_param *param); /* a leaf over it */

/* th_gradcheck over `inputs` tensors, which `function` gets as in[], and over every parameter of the set
 * (TH_F64), which it reaches by itself. The report names parameters. Leaves the gradients zeroed. */
th_status th_params_gradcheck(th_params *set, th_function *function, void *context, int inputs,
                              th_tensor *const *input, const th_gradcheck_options *options,
                              th_gradcheck_report *report, th_error *error);

/* ---- linear, layer norm, embedding ------------------------------------------------------------- */

typedef struct th_nn_linear {
  th_param *weight; /* [out,in] */
  th_param *bias;   /* [out], or NULL */
} th_nn_linear;
th_nn_linear th_nn_linear_make(th_params *set, const char *name, int64_t in, int64_t out, bool bias);
th_var *th_nn_linear_forward(const th_nn_linear *layer, th_var *x); /* [..,in] to [..,out] */

typedef struct th_nn_norm {
  th_param *weight, *bias; /* [n] */
} th_nn_norm;
#define TH_NORM_EPSILON 1e-5
th_nn_norm th_nn_norm_make(th_params *set, const char *name, int64_t n);
th_var *th_nn_norm_forward(const th_nn_norm *layer, th_var *x);

typedef struct th_nn_embedding {
  th_param *weight; /* [vocabulary,width] */
} th_nn_embedding;
th_nn_embedding th_nn_embedding_make(th_params *set, const char *name, int64_t vocabulary, int64_t width,
                                     th_init init);
/* ids TH_I32 [..] to rows times sqrt(width), section 3.4: [..,width]. */
th_var *th_nn_embedding_forward(const th_nn_embedding *layer, th_tape *tape, const th_tensor *ids);

/* ---- positions ------------------------------------------------------------------------------------ */

typedef enum {
  TH_POSITIONS_SINUSOIDAL, /* added to the embeddings: Vaswani et al. 2017, section 3.5 */
  TH_POSITIONS_LEARNED,    /* added to the embeddings: a parameter, which bounds the length of a sequence */
  TH_POSITIONS_ROTARY,     /* turns queries and keys of self-attention: Su et al. 2021, equation 34 */
  TH_POSITIONS_ALIBI,      /* a bias on the scores of self-attention: Press et al. 2022, section 3 */
  TH_POSITIONS_RELATIVE,   /* a learned bias, likewise: Raffel et al. 2020, section 2.1 */
  TH_POSITIONS_NONE        /* only the causal mask tells places apart */
} th_positions;

/* Fill a table [length,width] for positions first, first + 1, ..: columns 2i and 2i + 1 hold sine and cosine of
 * position / 10000^(2i / width) (Vaswani et al. 2017, section 3.5); th_turns cosine and sine, for th_rotary. */
void th_sinusoids(const th_tensor *table, int64_t first);
void th_turns(const th_tensor *table, int64_t first);

/* ALiBi's slope of a head (from 0): its bias is -slope |query - key|, so that an encoder cannot tell a sequence
 * from its mirror image, where no token marks an end. For H heads, a power of two, 2^(-8h/H)
 * with h from 1 (Press et al. 2022, section 3); for others, as in the code they published, the slopes of the
 * power of two below and then every other one of twice as many. */
double th_alibi_slope(int64_t head, int64_t heads);

/* Which row of the learned table serves a key at `distance` = key - query: near ones have one each, those
 * further off share, at even steps of the logarithm (Raffel et al. 2020, section 2.1; T5's code). Causal: every
 * key ahead is at distance 0; otherwise half of the rows are for those ahead. */
#define TH_RELATIVE_BUCKETS 32
#define TH_RELATIVE_FURTHEST 128 /* from here on all distances share the last row */
int32_t th_relative_bucket(int64_t distance, bool causal);

struct th_nn_layer_config;
struct th_nn_attention;

/* The positions of one stack of layers. */
typedef struct th_nn_positions {
  th_positions kind;
  bool causal;            /* relative: keys ahead are hidden and need no rows */
  const th_tensor *table; /* sinusoidal, rotary: borrowed; rows past its end are computed when wanted */
  /* learned: [length,width]; relative: [TH_RELATIVE_BUCKETS,heads], of all heads of the whole model; else NULL */
  th_param *learned;
} th_nn_positions;
th_nn_positions th_nn_positions_make(th_params *set, const char *name, th_positions kind,
                                     const struct th_nn_layer_config *layer, int64_t length, bool causal,
                                     const th_tensor *table);
/* The table for the first `length` positions, on the heap: free with th_tensor_free. data NULL for a kind
 * without. */
th_status th_nn_positions_table(th_tensor *table, th_positions kind, const struct th_nn_layer_config *layer,
                                int64_t length, th_dtype dtype, th_error *error);

/* Embeddings x [B,T,E] at positions first, first + 1, ..: with sinusoids or learned rows added, else x. */
th_var *th_nn_positions_add(const th_nn_positions *positions, th_var *x, int64_t first);
/* Queries or keys x [B,H,T,D] at positions first, first + 1, ..: turned, or x. positions may be NULL. */
th_var *th_nn_positions_turn(const th_nn_positions *positions, th_var *x, int64_t first);
/* For queries [B,H,T,D], the last T of `keys`: a bias on their scores [H,T,keys], or NULL for none. The H heads are
 * those of `layer`; NULL: all that there are. */
th_var *th_nn_positions_bias(const th_nn_positions *positions, const struct th_nn_attention *layer,
                             th_var *query, int64_t keys);

/* ---- multi-head attention ------------------------------------------------------------------------ */

typedef enum { TH_ENCODER_SELF, TH_DECODER_SELF, TH_CROSS } th_attention_kind;
const char *th_attention_kind_name(th_attention_kind kind); /* "encoder_self", "decoder_self", "cross" */

/* How an attention attends. Multi-head attention is one point of a family; docs/attention.md draws the others. */
typedef enum {
  TH_ATTENTION_FULL,          /* each head its own keys and values: Vaswani et al. 2017, section 3.2.2 */
  TH_ATTENTION_GROUPED,       /* heads share keys and values: Shazeer 2019; Ainslie et al. 2023 */
  TH_ATTENTION_COLLABORATIVE, /* heads share key and query dimensions and mix them: Cordonnier et al. 2020 */
  TH_ATTENTION_LOCAL,         /* only to what is near: Beltagy et al. 2020, section 3.1 */
  TH_ATTENTION_LINEAR,        /* a feature map for the softmax: Katharopoulos et al. 2020 */
  TH_ATTENTION_TALKING,       /* heads mix scores and weights: Shazeer et al. 2020 */
  TH_ATTENTION_LSH            /* only to what hashes alike: Kitaev et al. 2020, section 2 */
} th_attention_method;
enum { TH_ATTENTION_METHODS = TH_ATTENTION_LSH + 1 };

/* The settings of a method; those of others must be 0. All zero: full. */
typedef struct th_nn_method {
  th_attention_method kind;
  int64_t key_heads;    /* grouped: heads of keys and of values, which divide the heads; 1 is multi-query */
  int64_t shared_width; /* collaborative: of the queries and keys that all heads share */
  int64_t window;       /* local: keys less than so far away are seen */
  int64_t rounds;       /* LSH: of hashing, at least 1 */
  int64_t buckets;      /* LSH: even, or 1 for no hashing */
  int64_t chunk;        /* LSH: keys of a chunk, at least 1 */
} th_nn_method;

/* What a method can do. For what it cannot, making a layer or a model is an error. T queries, S keys, all of them
 * of one sequence; D and V are the widths of a head's keys and values, and one head is what costs are of. */
typedef struct th_attention_traits {
  const char *name;   /* "full", "grouped", .. */
  const char *source; /* paper and section */
  bool cross;         /* to another sequence than its own */
  bool causal;
  bool padding; /* lengths of sequences */
  bool allowed; /* any other mask */
  bool biases;  /* on scores: ALiBi and relative positions */
  bool rotary;
  bool dropout;              /* of weights */
  bool rows_sum_to_one;      /* of weights, which are then at least 0 */
  bool prunes;               /* single heads can be removed: th_transformer_prune */
  const char *time, *memory; /* of training, in T and S */
  const char *cache;         /* what decoding keeps of S tokens, for all of H heads */
} th_attention_traits;
const th_attention_traits *th_attention_traits_of(th_attention_method kind); /* NULL: there is no such one */

/* Some of an attention's heads, by their numbers in the whole model. All zero: all of them. */
typedef struct th_nn_heads {
  int64_t count;         /* may be 0 */
  const int32_t *number; /* [count] from 0, rising; borrowed; not NULL, unless they are all */
} th_nn_heads;

/* Collaborative attention (Cordonnier et al. 2020, section 3): with the queries Q = X W_Q' and keys K = Y W_K' that
 * all heads share, head h scores (Q diag(m_h) K' + 1 (Y c_h)') / sqrt(D). */
typedef struct th_nn_collaboration {
  th_param *query, *key;  /* W_Q and W_K: [shared_width,E] */
  th_param *mixing;       /* m_h: [H,shared_width] */
  th_param *content_bias; /* c_h: [H,E] */
  th_nn_linear value;     /* [H*V,E] */
} th_nn_collaboration;

/* Vaswani et al. 2017, section 3.2.2, and its kin. width E, H heads of D for queries and keys and V for values; the
 * heads read K heads of keys and W of values, head h the one numbered h K / H, and h W / H. Where no head is
 * left, only out.bias is there, and the result is that for each token. */
typedef struct th_nn_attention {
  int64_t width, heads, key_width, value_width; /* E, H, D, V */
  th_nn_method method;
  int64_t key_heads, value_heads; /* K, W: H, but for grouped and collaborative attention */
  int64_t whole;                  /* the heads it had in the whole model: H, and those that were removed */
  const int32_t *number;          /* [H], borrowed: which of those each head was, rising; NULL: 0, 1, 2 .. */
  /* [H*D + K*D + W*V, E]: the query, key and value projections, one under the other; LSH has no keys, [H*D + H*V, E] */
  th_param *in_weight;
  th_param *in_bias;                  /* the same rows */
  th_nn_collaboration shared;         /* collaborative: instead of in_weight and in_bias */
  th_param *mix_scores, *mix_weights; /* talking: [H,H], row: what a head gets of each */
  th_nn_linear out;                   /* [E, H*V] */
  th_param *gate; /* [H] or NULL for ones: multiplies each head's output before the output projection */
  double dropout; /* of the weights, while the tape trains */
  th_param *gate_logits;            /* [H] or NULL: hard concrete gates, which multiply likewise */
  double head_dropout;              /* of whole heads, for each sequence, while the tape trains */
  const th_nn_positions *positions; /* of self-attention, borrowed; NULL: the inputs know theirs */
  bool separate; /* three products where one would do; the result is the same to rounding */
  th_attention_kind kind;
  int layer;
} th_nn_attention;

/* key_width and value_width 0: E / H, which must then divide, or th_params_make says so, as it does of a method that
 * does not fit. */
typedef struct th_nn_attention_config {
  int64_t width, heads, key_width, value_width;
  th_nn_method method;
  double dropout;
  th_attention_kind kind;
  int layer;
  th_nn_heads kept; /* of `heads`, those that it has; the numbers must live as long as it does */
  bool gates;       /* with gate_logits */
  double head_dropout;
} th_nn_attention_config;
th_nn_attention th_nn_attention_make(th_params *set, const char *name, const th_nn_attention_config *config);
/* What is wrong with a method for so many heads, or as cross-attention: TH_EINVAL and one line. */
th_status th_nn_method_check(const th_nn_method *method, int64_t heads, bool cross, th_error *error);
/* The number in the whole model of the head at `place`, 0 to H - 1. */
int64_t th_nn_head_number(const th_nn_attention *layer, int64_t place);

/* What the head at `place` reads of a token for its queries, or keys: its rows of the projection, [rows,E].
 * Collaborative: the shared ones times m_h. */
int64_t th_nn_read_rows(const th_nn_attention *layer); /* D; collaborative: the shared width */
void th_nn_read_matrix(const th_nn_attention *layer, int64_t place, bool key, double *matrix);

/* What multiplies the output of each head where nothing trains: gate times hard concrete gate, gates [heads]. */
void th_nn_attention_gates(const th_nn_attention *layer, double *gates);
#define TH_GATE_LOGIT 2 /* where logits begin: 97 % of the gates are open, and at evaluation each is 0.957 */
#define TH_GATE_RATE \
  10 /* th_param.rate of logits: to shut is a way of 4.4, and Adam's steps are of the rate's size */

/* One look inside: what an attention computed, vars of its tape. */
typedef struct th_seen {
  /* [B,H,T,D], [B,K,S,D], [B,H,S,V]; query and key as rotary turned them. Collaborative: queries mixed, and D is
   * the shared width and one number for each head: the content bias. LSH: keys of length 1. */
  th_var *query, *key, *value;
  const th_mask *mask; /* what hides keys from queries: what the caller hid, and the method; NULL: nothing */
  /* [B,H,T,S] before dropout; row: query, column: key. Talking heads: mixed, so that rows sum to anything. */
  th_var *weights;
  th_var *heads; /* [B,H,T,V] after the gate */
} th_seen;

/* Called by each attention in turn, unless it has no head. With a tap attention is built from small ops, and the
 * weights can be looked at and trained on; without, they stay inside one op. A tap may put another var of the
 * same shape in the place of `heads`: the output projection reads what it finds there. */
typedef struct th_tap {
  void (*see)(void *context, const th_nn_attention *layer, th_seen *seen);
  void *context;
} th_tap;

/* How far the heads of one attention differ, which is to be made large: Li et al. 2018, section 3. Over pairs of
 * different heads i and j, and over the rows that count, minus the mean of
 *   subspace   cos(V_i, V_j), the values of a key               ("disagreement on subspaces")
 *   positions  A_i . A_j, the weights of a query                ("on attended positions")
 *   outputs    cos(O_i, O_j), what the heads say to a query     ("on outputs")
 * The paper's mean has i = j in it, too: it adds a constant to the cosines, and to the positions a wish for even
 * weights, which is no disagreement. */
typedef enum { TH_DISAGREE_SUBSPACE, TH_DISAGREE_POSITIONS, TH_DISAGREE_OUTPUTS } th_disagreement;
/* A scalar from -1 to 1, of a tap's `seen`. Queries and keys beyond the lengths [B] (NULL: none) do not count. NULL:
 * there is a single head, or the tape has an error. */
th_var *th_nn_disagreement(const th_seen *seen, th_disagreement of, const int32_t *query_length,
                           const int32_t *key_length);

/* x [B,T,E] attends to memory [B,S,E] (NULL: to itself) under mask (NULL: none): [B,T,E]. tap may be NULL. */
th_var *th_nn_attention_forward(const th_nn_attention *layer, th_var *x, th_var *memory, const th_mask *mask,
                                const th_tap *tap);

/* Keys and values that are computed once and attended to again: the memory's, or those of the tokens
 * decoded so far. key [B,K,S,D], value [B,W,S,V]; of S the first `length` are filled. Linear attention has
 * their sums alone: th_linear_attention's state. */
typedef struct th_nn_cache {
  th_tensor key, value;
  th_tensor state; /* linear: [B,H,D,V+1]; else data is NULL */
  int64_t length;
} th_nn_cache;
/* Room for S keys in the tape's memory. Without memory the tape has the error, and data is NULL. */
th_nn_cache th_nn_cache_new(th_tape *tape, const th_nn_attention *layer, int64_t batch, int64_t room);
/* Appends the keys and values of memory [B,n,E]; those beyond lengths [B] (NULL: none) will be hidden, and linear attention
 * leaves them out here. */
void th_nn_attention_remember(const th_nn_attention *layer, th_nn_cache *cache, th_var *memory,
                              const int32_t *length);
/* x [B,T,E] attends to what is remembered; the last T of which are its own, in self-attention under a causal mask. */
th_var *th_nn_attention_recall(const th_nn_attention *layer, const th_nn_cache *cache, th_var *x,
                               const th_mask *mask, const th_tap *tap);

/* Causal self-attention of the newest tokens x [B,n,E] to all that is remembered, and to themselves, which are
 * remembered first. */
th_var *th_nn_attention_step(const th_nn_attention *layer, th_nn_cache *cache, th_var *x, const th_tap *tap);

/* ---- feed-forward, encoder and decoder layers ------------------------------------------------------ */

typedef enum { TH_ACT_RELU, TH_ACT_GELU, TH_ACT_GELU_TANH } th_activation;

typedef struct th_nn_feed_forward { /* section 3.3: W2 act(W1 x + b1) + b2 */
  th_nn_linear first, second;
  th_activation activation;
  double dropout;
  int64_t
      chunks; /* of rows; with more than 1 the hidden rows of one are all that is ever there: Kitaev et al. 2020, section 3 */
} th_nn_feed_forward;
th_nn_feed_forward th_nn_feed_forward_make(th_params *set, const char *name, int64_t width, int64_t hidden,
                                           th_activation activation, double dropout);
th_var *th_nn_feed_forward_forward(const th_nn_feed_forward *layer, th_var *x);

typedef struct th_nn_layer_config {
  int64_t width, heads, feed_forward;
  th_nn_method attention, cross_attention; /* of a layer's self-attention, and of its cross-attention */
  int64_t key_width, value_width;          /* per head; 0: width / heads */
  th_activation activation;
  double dropout;
  int64_t
      feed_forward_chunks; /* rows are gone through in so many parts, each computed again in backward; 0 or 1: at once */
  bool head_gates;     /* a hard concrete gate for each head: Voita et al. 2019, section 6.1 */
  double head_dropout; /* of whole heads: Zhou et al. 2020, section 3.1 */
  bool norm_first;     /* pre-norm: x + f(norm(x)); otherwise post-norm, as in the paper: norm(x + f(x)) */
  th_nn_heads self, cross; /* those that its attentions have; the numbers must live as long as the layer */
} th_nn_layer_config;

typedef struct th_nn_encoder_layer {
  th_nn_attention self;
  th_nn_feed_forward feed_forward;
  th_nn_norm norm1, norm2;
  double dropout;
  bool norm_first;
} th_nn_encoder_layer;
th_nn_encoder_layer th_nn_encoder_layer_make(th_params *set, const char *name,
                                             const th_nn_layer_config *config, int layer);
th_var *th_nn_encoder_layer_forward(const th_nn_encoder_layer *layer, th_var *x, const th_mask *mask,
                                    const th_tap *tap);

typedef struct th_nn_decoder_layer {
  th_nn_attention self, cross;
  th_nn_feed_forward feed_forward;
  th_nn_norm norm1, norm2, norm3;
  double dropout;
  bool norm_first;
} th_nn_decoder_layer;
th_nn_decoder_layer th_nn_decoder_layer_make(th_params *set, const char *name,
                                             const th_nn_layer_config *config, int layer);
th_var *th_nn_decoder_layer_forward(const th_nn_decoder_layer *layer, th_var *x, th_var *memory,
                                    const th_mask *self_mask, const th_mask *memory_mask, const th_tap *tap);

/* ---- the Transformer ---------------------------------------------------------------------------------- */

typedef enum {
  TH_WEIGHTS_PAPER, /* embeddings normal with deviation 1/sqrt(width) (section 3.4 scales them back up), the rest Xavier */
  TH_WEIGHTS_XAVIER /* every matrix Xavier, embeddings too */
} th_weights;

typedef enum {
  TH_ENCODER_DECODER, /* from a source to a target: th_transformer_encode, th_transformer_decode */
  TH_DECODER_ONLY,    /* each token from those before it: th_transformer_language */
  TH_ENCODER_ONLY /* a class for a sequence: th_transformer_classify; its encoder: th_transformer_encode */
} th_transformer_shape;

/* What a shape has not (a decoder-only model: encoder layers, a source vocabulary) must be 0. */
typedef struct th_transformer_config {
  th_transformer_shape shape;
  int64_t source_vocabulary, target_vocabulary;
  int64_t encoder_layers, decoder_layers;
  int64_t classes;    /* of the encoder-only shape */
  int64_t max_length; /* longest sequence, source or target, in tokens: a bound with learned positions only */
  th_nn_layer_config layer;
  th_positions positions;
  th_weights weights;
  /* Each stack is two streams, changed in turn, whose mean goes on: what its layers compute is not kept for backward, but
   * computed again (Kitaev et al. 2020, section 3). Wants layer.norm_first. */
  bool reversible;
  bool final_norm; /* a norm after the last layer of each stack: pre-norm wants it, the paper has none */
  bool tie_source; /* source and target share one embedding, the target's; one vocabulary, so one size */
  bool tie_output; /* the output's matrix is the target embedding: Press & Wolf 2017; section 3.4 */
  /* [attentions,heads] in the order of th_transformer_attention: heads that the model goes without. NULL: none. The
   * transformer has a copy of its own. (layer.self and layer.cross are to be all zero here.) */
  const bool *removed;
} th_transformer_config;

typedef struct th_transformer {
  th_transformer_config config;
  int32_t *numbers; /* what config.removed and the attentions' numbers point into; NULL: no head is removed */
  th_params *params;
  th_nn_embedding source_embedding, target_embedding; /* weight NULL: the shape has none */
  th_tensor position_table; /* sinusoids or turns of max_length positions; data NULL: none */
  th_nn_positions source_positions, target_positions;
  th_nn_encoder_layer *encoder; /* [encoder_layers]; decoder-only [decoder_layers]: the same layer, causal */
  th_nn_decoder_layer *decoder; /* [decoder_layers]; NULL where nothing is attended to across */
  th_nn_norm encoder_norm, decoder_norm; /* weight NULL: none */
  th_nn_linear output;                   /* [target_vocabulary,width]; encoder-only [classes,width] */
} th_transformer;

/* What is wrong with a configuration, in words of its members: TH_EINVAL and one line. */
th_status th_transformer_check(const th_transformer_config *config, th_error *error);
/* Free with th_transformer_free, which takes NULL. On failure nothing is left behind. */
th_status th_transformer_new(th_transformer **made, const th_transformer_config *config, th_dtype dtype,
                             uint64_t seed, th_error *error);
void th_transformer_free(th_transformer *model);

/* A model's attentions, counted: the encoder's self-attentions layer by layer, then the decoder's, then the
 * cross-attentions. NULL: there is no such one. */
int th_transformer_attentions(const th_transformer *model);
th_nn_attention *th_transformer_attention(const th_transformer *model, int index);

/* A new model without the weights of some heads: their rows of the projections, and columns of
 * out_proj.weight (Michel et al. 2019, section 4; Voita et al. 2019, section 6). TH_EINVAL where the method has no
 * heads of their own: th_attention_traits. It computes what the model does
 * with those heads' gates at 0, to rounding, by fewer products. `remove` says of each head that the model has,
 * attention by attention, whether it goes; all may. Gates that were put on the attentions
 * (th_nn_attention.gate) are multiplied into the new model's out_proj.weight, and it has none. */
th_status th_transformer_prune(th_transformer **made, const th_transformer *model, const bool *remove,
                               th_error *error);

/* A new model whose attentions, which must be full, are collaborative of this shared width, so that they score as those did,
 * as nearly as so many shared dimensions can (Cordonnier et al. 2020, section 4): exactly, to rounding, with H D or more.
 * errors [th_transformer_attentions] get |M - M'| / |M| (Frobenius) of all heads' W_Q,h' W_K,h, stacked. All else is
 * the same. Gates that were put on the attentions are left behind. The result is the same each time. */
th_status th_transformer_collaborate(th_transformer **made, const th_transformer *model, int64_t shared_width,
                                     double *errors, th_error *error);

/* How many heads' gates are open, as th_expected_open says, in all attentions: a scalar, and times a penalty
 * what Voita et al. 2019, section 6.1, add to the loss. NULL: the model has no gates. */
th_var *th_transformer_open_heads(const th_transformer *model, th_tape *tape);

/* Sequences side by side. Which of the parts a model's shape needs is said at each. */
typedef struct th_batch {
  th_tensor source;             /* TH_I32 [B,S]; not of a decoder-only model */
  const int32_t *source_length; /* [B], with the end mark; NULL: all S */
  th_tensor input;              /* TH_I32 [B,T], what the decoder reads; not of an encoder-only model */
  const int32_t *input_length;  /* [B]; NULL: all T */
  th_tensor
      output; /* TH_I32 [B,T], what is to follow each token, below 0: does not count; encoder-only [B], classes */
} th_batch;

/* A function that the model's shape has not is an error on the tape. */

/* What training makes small: the mean cross-entropy (th_cross_entropy) of a batch's outputs, scalar. It is that of
 * th_transformer_encode, th_transformer_decode and so on; but where more than a tenth of the batch is padding, nothing is
 * computed of it outside the attentions, in which it is left out, unless a tap looks on or the stack is reversible or in
 * chunks. Outputs beyond input_length are to be below 0. */
th_var *th_transformer_loss(const th_transformer *model, th_tape *tape, const th_batch *batch,
                            double smoothing, const th_tap *tap);

/* source TH_I32 [B,S] with lengths [B] (NULL: all S): the memory [B,S,E]. */
th_var *th_transformer_encode(const th_transformer *model, th_tape *tape, const th_tensor *source,
                              const int32_t *source_length, const th_tap *tap);
/* target TH_I32 [B,T], what stands before each wanted token: logits [B,T,target_vocabulary]. */
th_var *th_transformer_decode(const th_transformer *model, th_var *memory, const int32_t *source_length,
                              const th_tensor *target, const th_tap *tap);

/* What the last norm, or without one the output layer, reads of the decoder, or of a decoder-only model (memory NULL):
 * [B,T,E]. */
th_var *th_transformer_residual(const th_transformer *model, th_tape *tape, th_var *memory,
                                const int32_t *source_length, const th_tensor *target, const th_tap *tap);

/* Decoder-only. tokens TH_I32 [B,T]: the logits of what follows each, [B,T,target_vocabulary]. Padding at the
 * end of a sequence needs no length: nothing before it sees it. */
th_var *th_transformer_language(const th_transformer *model, th_tape *tape, const th_tensor *tokens,
                                const th_tap *tap);
/* Encoder-only. tokens TH_I32 [B,S] with lengths [B] (NULL: all S): the mean of what the encoder makes of the
 * tokens that count, through the output layer: logits [B,classes]. Of no tokens the mean is 0. */
th_var *th_transformer_classify(const th_transformer *model, th_tape *tape, const th_tensor *tokens,
                                const int32_t *length, const th_tap *tap);

/* Decoding token by token, each at the cost of one: the caches of every layer, in the tape's memory. */
typedef struct th_decoding {
  const th_transformer *model;
  const int32_t *source_length; /* the caller's */
  th_nn_cache *self, *cross;    /* [decoder_layers]; decoder-only: cross is NULL */
  int64_t length;               /* tokens read so far */
} th_decoding;
/* Ready to read up to `limit` tokens for memory [B,S,E]. The tape should not record. */
th_decoding th_decoding_begin(const th_transformer *model, th_var *memory, const int32_t *source_length,
                              int64_t limit);
/* The same for a decoder-only model: `batch` sequences from nothing. */
th_decoding th_decoding_begin_language(const th_transformer *model, th_tape *tape, int64_t batch,
                                       int64_t limit);
/* Reads the next n tokens (one, or a prompt) of each sequence, TH_I32 [B,n]: the logits of what follows each,
 * [B,n,target_vocabulary]. After an error on the tape it reads nothing. */
th_var *th_decoding_step(th_decoding *decoding, th_tape *tape, const th_tensor *tokens, const th_tap *tap);

/* ---- search ------------------------------------------------------------------------------------------- */

/* How to find an output Y for each source. Three ways:
 *   greedy    the most likely token each time: beam 0 or 1, sample false
 *   beam      the `beam` most likely beginnings are kept open, and the outputs with the highest score won
 *   sample    each token is drawn from what the model says
 * Of an output, log P(Y) is the sum over its tokens, the end mark's with them, and its score is
 *   log P(Y) / lp(Y),  lp(Y) = ((5 + |Y|) / 6)^alpha      (Wu et al. 2016, equation 14, without coverage)
 * with |Y| the number of its tokens, the end mark's with them. Vaswani et al. 2017, section 6.1, take a beam of
 * 4 and an alpha of 0.6.
 *
 * Beam search: the continuations of the open beginnings are gone through from the most likely on. One with the
 * end mark is an output, any other stays open; with `beam` open ones the others are forgotten.
 * A source is done when no open beginning can beat the last of its `best` outputs any more: its score will
 * be at most its log P now over the lp of the longest output. What is open at `limit` tokens becomes an
 * output without end mark (`ended` false), with the log P of the tokens it has, and takes its place by score
 * like any other: so outputs with and without end mark are all there is, and their probabilities sum to 1. */
typedef struct th_search_options {
  int32_t begin, end; /* the marks: what is read first, and what ends an output */
  int64_t limit;      /* most tokens of an output, with its end mark; at most the model's max_length */
  int64_t beam;       /* 0: 1 */
  int64_t best;       /* outputs for each source, at most `beam`; of a sample: draws, each on its own; 0: 1 */
  double alpha;       /* 0: scores are log probabilities */
  bool sample;
  double temperature; /* logits are divided by it; 0: the most likely token, whatever top_k and top_p say */
  int64_t top_k;      /* only the k most likely tokens (Fan et al. 2018, section 5.1); 0: all */
  double top_p;       /* then, of those, the fewest most likely with at least this probability in all, which
                         follows the temperature (Holtzman et al. 2020, section 3.1); 0 or 1: all */
  uint64_t seed;
  /* [B]: each source's own number; NULL: 0, 1, 2 .. Token t of its draw i depends on seed, number, i and t,
   * not on the batch it is in. */
  const int64_t *number;
  bool recompute; /* every token through th_transformer_decode again, nothing kept: slow, the same */
  bool unscored;  /* greedy: log_probability and score stay 0, and cost nothing */
} th_search_options;

typedef struct th_hypothesis {
  const int32_t *tokens; /* [length]; the last is the end mark where `ended` */
  int64_t length;
  bool ended;
  double log_probability; /* natural, of the model itself: no temperature, nothing cut off */
  double score;
} th_hypothesis;

/* What was found for B sources. Owns all it points to, until th_hypotheses_free. */
typedef struct th_hypotheses {
  int64_t sources, most; /* B; options' best */
  int64_t *count;        /* [B]: how many there are; below `most` only where there are no more outputs */
  th_hypothesis *list;   /* [B,most]: by falling score, all different; of a sample by draw */
  int32_t *tokens;       /* what the list points into */
} th_hypotheses;
void th_hypotheses_free(th_hypotheses *found); /* all zero is fine, and left behind */

/* Outputs for source TH_I32 [B,S] with lengths [B] (NULL: all S). Each source gets what it would get alone, to
 * rounding. Resets the tape, which holds all memory meanwhile, and leaves it recording and training or not as
 * it was. TH_EINVAL for options that do not fit, TH_ENAN where logits are NaN or infinite (not seen if
 * unscored), or what the tape met; then *found is all zero. */
th_status th_search(const th_transformer *model, th_tape *tape, const th_tensor *source,
                    const int32_t *source_length, const th_search_options *options, th_hypotheses *found,
                    th_error *error);

/* Greedy search, its tokens alone: out TH_I32 [B,limit] is filled, with `end` from the first `end` on.
 * TH_ESHAPE for another B than the source's; the rest as th_search. */
th_status th_transformer_greedy(const th_transformer *model, th_tape *tape, const th_tensor *source,
                                const int32_t *source_length, int32_t begin, int32_t end,
                                const th_tensor *out, th_error *error);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
