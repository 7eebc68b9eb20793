/* The head study beside NumPy, SciPy, scikit-learn and PyTorch: tests/data/make_study.py. */
#include "reference_model.h"
#include "tapehead/measure.h"
#include "tapehead/study.h"

TestSuite(study_peers);

enum { HEADS = 12, BATCH = 3 };

/* The model and sentences of transformer.safetensors, and what the peers make of its heads. */
typedef struct peers {
  reference from, said;
  translation work;
  th_tape *tape;
  th_batch batch;
  th_study_data data;
} peers;

static void peers_open(peers *p) {
  *p = (peers){.tape = th_tape_new(NULL)};
  reference_open(&p->from, "tests/data", "transformer", TH_F64);
  reference_open(&p->said, "tests/data", "study", TH_F64);
  p->work = open_translation(&p->from);
  p->batch = (th_batch){.source = *p->work.source,
                        .source_length = p->work.source_lengths,
                        .input = *p->work.target_in,
                        .input_length = p->work.target_lengths,
                        .output = p->work.target_out};
  p->data = (th_study_data){.batches = &p->batch, .count = 1, .begin = -1, .end = -1};
  cr_assert_eq(th_head_count(p->work.model), HEADS);
}

static void peers_close(peers *p) {
  th_transformer_free(p->work.model);
  th_tape_free(p->tape);
  reference_close(&p->said);
  reference_close(&p->from);
}

/* Values in the shape that the peers' have under this name. */
static void compare_values(peers *p, const char *name, double *values) {
  const th_tensor *theirs = reference_find(&p->said, name);
  th_tensor ours = th_tensor_of(values, TH_F64, theirs->ndim, theirs->shape);
  compare(&p->said, &ours, "%s", name);
}

Test(study_peers, agree_on_entropy_spread_confidence_and_distance) {
  static const th_look measures[] = {TH_LOOK_ENTROPY, TH_LOOK_SPREAD, TH_LOOK_CONFIDENCE, TH_LOOK_DISTANCE};
  peers p;
  th_head_look looks[HEADS];
  double values[HEADS][2][4];
  peers_open(&p);
  cr_assert_eq(th_study_looks(p.work.model, p.tape, &p.data, looks, NULL), TH_OK);
  for (int h = 0; h < HEADS; h++)
    for (int k = 0; k < 4; k++) {
      values[h][0][k] = looks[h].value[measures[k]].mean;
      values[h][1][k] = looks[h].value[measures[k]].deviation;
    }
  compare_values(&p, "looks", &values[0][0][0]);
  peers_close(&p);
}

Test(study_peers, agree_on_the_distances_of_heads) {
  peers p;
  double distance[HEADS * HEADS];
  peers_open(&p);
  p.said.tolerance = 1e-7; /* a difference of entropies knows a distance to the root of rounding */
  cr_assert_eq(th_study_distances(p.work.model, p.tape, &p.data, distance, NULL), TH_OK);
  for (int i = 0; i < HEADS * HEADS; i++)
    if (isnan(distance[i])) distance[i] = -1; /* between kinds */
  compare_values(&p, "distances", distance);
  peers_close(&p);
}

Test(study_peers, agree_on_norms_of_weighted_values) {
  static const char *const names[] = {"encoder", "decoder", "cross"};
  peers p;
  th_capture seen;
  peers_open(&p);
  cr_assert_eq(th_study_capture(p.work.model, p.tape, &p.batch, TH_CAPTURE_NORMS, &seen, NULL), TH_OK);
  cr_assert_eq(seen.count, HEADS / 2);
  for (int i = 0; i < seen.count; i++)
    compare(&p.said, &seen.attentions[i].norms, "norms.%s.%d", names[seen.attentions[i].kind],
            seen.attentions[i].layer);
  th_capture_free(&seen);
  peers_close(&p);
}

Test(study_peers, agree_on_rollout) {
  peers p;
  th_rollout made;
  peers_open(&p);
  cr_assert_eq(th_study_rollout(p.work.model, p.tape, &p.batch, &made, NULL), TH_OK);
  compare(&p.said, &made.encoder, "rollout.encoder");
  compare(&p.said, &made.target, "rollout.target");
  compare(&p.said, &made.source, "rollout.source");
  th_rollout_free(&made);
  peers_close(&p);
}

Test(study_peers, agree_on_the_gradients_of_gates_and_on_what_is_lost_without_a_head) {
  peers p;
  th_outcome whole;
  th_head_worth worth[HEADS];
  double off[HEADS], gradient[HEADS], importance[HEADS];
  peers_open(&p);
  cr_assert_eq(th_study_worth(p.work.model, p.tape, &p.data, &whole, worth, NULL), TH_OK);
  for (int h = 0; h < HEADS; h++) {
    off[h] = worth[h].off.loss;
    gradient[h] = worth[h].gradient;
    importance[h] = worth[h].importance;
  }
  compare_values(&p, "worth.loss", &whole.loss);
  compare_values(&p, "worth.off", off);
  compare_values(&p, "worth.gradient", gradient);
  compare_values(&p, "worth.importance", importance);
  double agrees = th_rank_correlation(HEADS, importance, off);
  compare_values(&p, "worth.importance_rank", &agrees);
  peers_close(&p);
}

Test(study_peers, agree_on_the_correlation_of_ranks) {
  peers p;
  peers_open(&p);
  for (int i = 0; i < 4; i++) {
    char a[32], b[32], name[32];
    snprintf(a, sizeof a, "ranks.%d.a", i);
    snprintf(b, sizeof b, "ranks.%d.b", i);
    snprintf(name, sizeof name, "ranks.%d.correlation", i);
    const th_tensor *x = reference_find(&p.said, a), *y = reference_find(&p.said, b);
    double agrees = th_rank_correlation(x->shape[0], x->data, y->data);
    compare_values(&p, name, &agrees);
  }
  peers_close(&p);
}

/* Our map of scikit-learn's points has their distances: it is theirs, turned. */
Test(study_peers, agree_on_the_map_of_points_of_the_plane) {
  enum { POINTS = 9 };
  peers p;
  double place[POINTS][2], kept, distance[POINTS][POINTS];
  peers_open(&p);
  const double(*theirs)[2] = reference_find(&p.said, "plane.points")->data;
  const double *given = reference_find(&p.said, "plane.distance")->data;
  cr_assert_eq(th_study_map(POINTS, given, &place[0][0], &kept, NULL), TH_OK);
  for (int i = 0; i < POINTS; i++)
    for (int j = 0; j < POINTS; j++) {
      distance[i][j] = hypot(place[i][0] - place[j][0], place[i][1] - place[j][1]);
      double at = hypot(theirs[i][0] - theirs[j][0], theirs[i][1] - theirs[j][1]);
      cr_expect_float_eq(distance[i][j], at, 1e-7, "from %d to %d: %g, not %g", i, j, distance[i][j], at);
    }
  cr_expect_float_eq(kept, 1, 1e-12);
  peers_close(&p);
}
