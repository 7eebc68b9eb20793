#include "test_io_directory.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

TestSuite(file, .init = enter_directory, .fini = leave_directory);

Test(file, what_is_written_is_read_back) {
  char *bytes;
  size_t size;
  cr_assert_eq(th_file_write("a", "x\0y", 3, NULL), TH_OK);
  cr_assert_eq(th_file_read("a", &bytes, &size, NULL), TH_OK);
  cr_assert_eq(size, 3);
  cr_assert(!memcmp(bytes, "x\0y\0", 4), "with a zero byte after the last");
  free(bytes);
}

Test(file, an_empty_file_is_read_as_the_empty_string) {
  char *bytes;
  size_t size;
  cr_assert_eq(th_file_write("a", NULL, 0, NULL), TH_OK);
  cr_assert_eq(th_file_read("a", &bytes, &size, NULL), TH_OK);
  cr_assert_eq(size, 0);
  cr_assert_str_eq(bytes, "");
  free(bytes);
}

Test(file, a_pipe_longer_than_one_buffer_is_read_whole) {
  char *bytes;
  size_t size;
  put_text("run.sh", "head -c 300000 /dev/zero > pipe");
  cr_assert_eq(mkfifo("pipe", 0600), 0);
  cr_assert_eq(system("sh run.sh &"), 0);
  cr_assert_eq(th_file_read("pipe", &bytes, &size, NULL), TH_OK);
  cr_assert_eq(size, 300000);
  free(bytes);
}

Test(file, a_missing_file_cannot_be_read) {
  th_error error;
  char *bytes;
  size_t size;
  assert_fails(th_file_read("data.tsv", &bytes, &size, &error), TH_EIO, &error,
               "data.tsv: cannot read: No such file or directory");
  cr_assert_null(bytes);
}

Test(file, a_directory_cannot_be_read) {
  th_error error;
  char *bytes;
  size_t size;
  assert_fails(th_file_read(".", &bytes, &size, &error), TH_EIO, &error, ".: cannot read: Is a directory");
}

Test(file, an_unreadable_file_cannot_be_read) {
  th_error error;
  char *bytes;
  size_t size;
  put_text("secret", "x");
  cr_assert_eq(chmod("secret", 0), 0);
  cr_assert_eq(chmod(".", 0755), 0);
  if (geteuid() == 0) /* root reads everything */
    cr_assert_eq(seteuid(65534), 0);
  assert_fails(th_file_read("secret", &bytes, &size, &error), TH_EIO, &error,
               "secret: cannot read: Permission denied");
  cr_assert(geteuid() != 65534 || getuid() != 0 || seteuid(0) == 0);
}

Test(file, a_write_replaces_the_old_file_and_leaves_no_other) {
  put_text("a", "old and longer");
  cr_assert_eq(th_file_write("a", "new", 3, NULL), TH_OK);
  assert_holds_text("a", "new");
  cr_assert_eq(files_here(), 1);
}

Test(file, the_old_file_stays_until_the_commit) {
  th_file_out out;
  put_text("a", "old");
  cr_assert_eq(th_file_out_open(&out, "a", NULL), TH_OK);
  cr_assert_eq(th_file_out_write(&out, "ne", 2, NULL), TH_OK);
  cr_assert_eq(th_file_out_write(&out, "w", 1, NULL), TH_OK);
  assert_holds_text("a", "old");
  cr_assert_eq(th_file_out_commit(&out, NULL), TH_OK);
  assert_holds_text("a", "new");
  th_file_out_discard(&out);
  assert_holds_text("a", "new");
}

Test(file, a_discarded_file_leaves_nothing) {
  th_file_out out;
  cr_assert_eq(th_file_out_open(&out, "a", NULL), TH_OK);
  cr_assert_eq(th_file_out_write(&out, "new", 3, NULL), TH_OK);
  th_file_out_discard(&out);
  th_file_out_discard(&out);
  cr_assert_eq(files_here(), 0);
}

Test(file, a_discarded_file_takes_no_more) {
  th_error error;
  th_file_out out;
  cr_assert_eq(th_file_out_open(&out, "a", NULL), TH_OK);
  th_file_out_discard(&out);
  assert_fails(th_file_out_write(&out, "new", 3, &error), TH_EINVAL, &error,
               "a write to a file that is not open");
  assert_fails(th_file_out_commit(&out, &error), TH_EINVAL, &error, "a commit of a file that is not open");
}

Test(file, a_write_that_fails_half_way_leaves_the_old_file_alone) {
  th_error error;
  struct rlimit limit = {.rlim_cur = 100, .rlim_max = RLIM_INFINITY};
  char bytes[1000] = {0};
  put_text("a", "old");
  signal(SIGXFSZ, SIG_IGN);
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  th_status status = th_file_write("a", bytes, sizeof bytes, &error);
  limit.rlim_cur = RLIM_INFINITY;
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  assert_fails(status, TH_EIO, &error, "a: cannot write: File too large");
  assert_holds_text("a", "old");
  cr_assert_eq(files_here(), 1);
}

Test(file, a_rename_that_fails_leaves_no_temporary) {
  th_error error;
  th_file_out out;
  cr_assert_eq(th_file_out_open(&out, "a", NULL), TH_OK);
  cr_assert_eq(mkdir("a", 0700), 0);
  assert_fails(th_file_out_commit(&out, &error), TH_EIO, &error,
               "a: cannot rename into place: Is a directory");
  cr_assert_eq(files_here(), 1);
}

Test(file, a_missing_directory_cannot_be_written_to) {
  th_error error;
  assert_fails(th_file_write("no/a", "x", 1, &error), TH_EIO, &error,
               "no/a: cannot write: No such file or directory");
}

Test(file, a_directory_and_a_device_are_not_replaced) {
  th_error error;
  assert_fails(th_file_write("..", "x", 1, &error), TH_EIO, &error, "..: cannot write: Is a directory");
  assert_fails(th_file_write("/dev/null", "x", 1, &error), TH_EIO, &error,
               "/dev/null: cannot write: not a regular file");
}

Test(file, a_temporary_left_by_a_crash_is_no_hindrance) {
  char name[64];
  snprintf(name, sizeof name, "a.tmp-%ld-0", (long)getpid());
  put_text(name, "left");
  cr_assert_eq(th_file_write("a", "new", 3, NULL), TH_OK);
  assert_holds_text("a", "new");
  assert_holds_text(name, "left");
}

Test(file, the_mode_follows_the_umask) {
  struct stat status;
  umask(027);
  cr_assert_eq(th_file_write("a", "new", 3, NULL), TH_OK);
  cr_assert_eq(stat("a", &status), 0);
  cr_assert_eq(status.st_mode & 0777, 0640);
}

Test(file, a_path_with_a_directory_is_written_there) {
  char path[128];
  snprintf(path, sizeof path, "%s/a", directory);
  cr_assert_eq(chdir("/"), 0);
  cr_assert_eq(th_file_write(path, "new", 3, NULL), TH_OK);
  assert_holds_text(path, "new");
}

Test(directory, is_made_with_those_above_it, .init = enter_directory, .fini = leave_directory) {
  struct stat status;
  cr_assert_eq(th_directory_make("a/b//c/", NULL), TH_OK);
  cr_assert(!stat("a/b/c", &status) && S_ISDIR(status.st_mode));
  cr_assert_eq(th_directory_make("a/b/c", NULL), TH_OK, "that it exists is no error");
  cr_assert_eq(th_directory_make("/", NULL), TH_OK);
}

Test(directory, is_not_made_over_or_under_a_file, .init = enter_directory, .fini = leave_directory) {
  th_error error;
  put_text("a", "x");
  assert_fails(th_directory_make("a", &error), TH_EIO, &error, "a: cannot make the directory: File exists");
  assert_fails(th_directory_make("a/b", &error), TH_EIO, &error,
               "a/b: cannot make the directory: File exists");
  assert_fails(th_directory_make("", &error), TH_EIO, &error,
               ": cannot make the directory: No such file or directory");
}
