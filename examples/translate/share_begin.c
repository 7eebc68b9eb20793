/* How a training comes to its run, on every rank; what is written is written by rank 0. */
#include "commands.h"
#include "lock.h"
#include "share.h"

#include <unistd.h>

/* The run in `out`, with the settings that may change taken over. */
static th_status go_on(run *r, const char *out, const settings *asked, const given *flags, th_ranks *ranks,
                       th_error *error) {
  th_status status = run_open(r, out, asked, flags, RUN_TRAIN, error);
  if (status) return status;
  if (r->step > r->settings.steps)
    status = th_error_set(error, TH_EINVAL, "--steps %lld: the run in %s has made %lld already",
                          (long long)r->settings.steps, out, (long long)r->step);
  if (!status) status = share_parts(&r->settings, ranks, error);
  if (status) run_free(r);
  return status;
}

/* To go on with, and nobody says what a new one is to learn: misspelt, or it has lost its settings. */
static th_status no_run(const char *out, th_error *error) {
  static const char wanted[] = "a new one wants --task NAME or --pairs FILE";
  return access(out, F_OK)
             ? th_error_set(error, TH_EINVAL, "%s holds no run to go on with: %s", out, wanted)
             : th_error_set(error, TH_EIO,
                            "%s: exists and holds no run (no config.json): put back a copy; %s", out, wanted);
}

static th_status start(run *r, const char *out, settings *asked, const given *flags, th_ranks *ranks,
                       th_error *error) {
  if (!settings_say_task(flags)) return no_run(out, error);
  settings_defaults(asked, flags);
  th_status status = share_parts(asked, ranks, error);
  return status ? status : run_new(r, asked, out, error);
}

static th_status take_directory(const char *out, bool resumed, th_error *error) {
  th_status status = resumed ? lock_take(out, error) : TH_OK; /* a new one is locked where it is made */
  if (!status) leftovers_remove(out);
  return status;
}

/* Settings that changed are for good: what goes on with the run later finds them. */
static th_status write_directory(run *r, bool resumed, th_error *error) {
  char path[PATH_TEXT];
  return resumed ? settings_save(&r->settings, run_path(r, path, "config.json"), error) : run_begin(r, error);
}

th_status share_begin(run *r, const char *out, settings *asked, const given *flags, th_ranks *ranks,
                      bool *resumed, th_error *error) {
  bool leads = th_ranks_rank(ranks) == 0, made = false;
  *resumed = run_exists(out);
  th_status status = th_ranks_tell(ranks, resumed, sizeof *resumed, error);
  if (!status && leads) status = take_directory(out, *resumed, error);
  if ((status = share_status(ranks, status, error))) return status;
  status = *resumed ? go_on(r, out, asked, flags, ranks, error) : start(r, out, asked, flags, ranks, error);
  made = !status;
  status = share_status(ranks, status, error);
  if (!status) status = share_status(ranks, share_ready(r, ranks, error), error);
  if (!status) {
    stop_on_signals();
    status = share_status(ranks, leads ? write_directory(r, *resumed, error) : TH_OK, error);
  }
  if (!status) status = share_status(ranks, share_run(r, ranks, error), error);
  if (status && made) run_free(r);
  return status;
}
