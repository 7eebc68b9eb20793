/* Where a study goes: made under another name, and exchanged for the one there is when it is whole. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "heads.h"
#include "lock.h"

/* All that a study writes: nothing else is ever removed. */
static const char *const names[] = {"heads.csv",
                                    "report.html",
                                    "atlas.png",
                                    "worth.png",
                                    "pruning.png",
                                    "emergence.png",
                                    "map.png",
                                    "weights.npy",
                                    "distance.npy",
                                    "query_similarity.npy",
                                    "key_similarity.npy",
                                    "query_key_similarity.npy",
                                    "removal.npy",
                                    "removal_order.npy",
                                    "emergence.npy",
                                    "outcomes.npy",
                                    "steps.npy",
                                    "sentences.json",
                                    "mixing.csv",
                                    "mixing.png"};
enum { NAMES = sizeof names / sizeof *names };

static bool is_ours(const char *name) {
  for (int i = 0; i < NAMES; i++)
    if (!strcmp(name, names[i])) return true;
  return !name[strspn(name, ".")]; /* . and .. */
}

/* What stands at the place must be nothing, or a study alone: it goes when the new one is whole. */
static th_status check_old(const char *path, th_error *error) {
  struct stat status;
  if (lstat(path, &status)) return TH_OK;
  DIR *old = S_ISDIR(status.st_mode) ? opendir(path) : NULL;
  th_status found = TH_OK;
  if (!old) return th_error_set(error, TH_EIO, "%s: is no directory of ours: move it away", path);
  for (const struct dirent *entry; !found && (entry = readdir(old)) != NULL;)
    if (!is_ours(entry->d_name))
      found =
          th_error_set(error, TH_EIO, "%s: %s in it is not of the study: move it away", path, entry->d_name);
  closedir(old);
  return found;
}

static void remove_study(const char *directory) {
  char path[PATH_TEXT + 64];
  for (int i = 0; i < NAMES; i++) {
    snprintf(path, sizeof path, "%s/%s", directory, names[i]);
    unlink(path);
  }
  rmdir(directory);
}

th_status heads_place_begin(heads_place *p, const char *path, th_error *error) {
  p->unfinished[0] = 0;
  snprintf(p->path, sizeof p->path, "%s", path);
  th_status status = check_old(p->path, error);
  if (status) return status;
  leftovers_remove(p->path);
  snprintf(p->unfinished, sizeof p->unfinished, "%s" UNFINISHED "%d", p->path, (int)getpid());
  status = th_directory_make(p->unfinished, error);
  if (status) p->unfinished[0] = 0;
  return status;
}

/* Where the file system cannot exchange two names, the old study has another one for a moment. */
static int take_place(const heads_place *p) {
  char old[PATH_TEXT + 8];
  snprintf(old, sizeof old, "%s.old", p->path);
  if (!rename(p->unfinished, p->path)) return 0; /* there was none, or an empty one */
  if (errno != ENOTEMPTY && errno != EEXIST) return errno;
  if (!renameat2(AT_FDCWD, p->unfinished, AT_FDCWD, p->path, RENAME_EXCHANGE)) return 0;
  if (errno != EINVAL && errno != ENOSYS && errno != EXDEV && errno != EOPNOTSUPP) return errno;
  if (rename(p->path, old)) return errno;
  int problem = rename(p->unfinished, p->path) ? errno : 0;
  rename(old, problem ? p->path : p->unfinished);
  return problem;
}

th_status heads_place_finish(heads_place *p, th_error *error) {
  char parent[PATH_TEXT + 4];
  th_status status = check_old(p->path, error);
  int problem = status ? 0 : take_place(p);
  if (problem) status = th_error_set(error, TH_EIO, "%s: cannot make: %s", p->path, strerror(problem));
  if (!status) {
    snprintf(parent, sizeof parent, "%s/..", p->path);
    directory_sync(parent);
  }
  heads_place_discard(p); /* what stands there now is the study that was before */
  return status;
}

void heads_place_discard(heads_place *p) {
  if (p->unfinished[0]) remove_study(p->unfinished);
  p->unfinished[0] = 0;
}
