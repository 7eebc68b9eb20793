/* One training at a time in a run's directory, and what killed ones left behind.
 *
 * The lock is a POSIX record lock on DIR/.lock. The kernel drops it with the process, however that ends, so it
 * is never stale; the file, which says nothing by itself, is removed when the process ends in order. Who only
 * reads a run takes no lock: every file in it is whole at any moment. */
#ifndef TRANSLATE_LOCK_H
#define TRANSLATE_LOCK_H

#include "tapehead/io.h"

/* A new run's directory, DIR.unfinished-PROCESS, until it is whole. */
#define UNFINISHED ".unfinished-"

/* Locks a directory that is there until the process ends. TH_EIO where another training has it: "runs/x:
 * another training (process 123) is at work in it". A file system without locks is no reason to stop: a line
 * on standard output says that nothing keeps two trainings apart. A process locks one directory at a time. */
th_status lock_take(const char *directory, th_error *error);
void lock_follow(const char *directory); /* the locked directory has got this name */
void lock_drop(void);                    /* before the process ends; none taken: nothing */

/* The TH_EIO of lock_take where another training is at work in the directory. Takes nothing. */
th_status lock_check(const char *directory, th_error *error);

/* Removes what killed processes left: temporary files in a directory that this process has locked, and
 * unfinished new runs beside it. Only what bears our own names and the number of a process that lives no
 * more; what cannot be removed stays. */
void leftovers_remove(const char *directory);

size_t directory_trim(char *path); /* takes the slashes off its end, and gives its length */

#endif
