/* Pictures read back with libpng, to be looked at pixel by pixel; a folder and a plot context for each test. */
#ifndef TESTS_PLOT_PICTURE_H
#define TESTS_PLOT_PICTURE_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <png.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tapehead/plot.h"

typedef struct picture {
  int width, height;
  png_bytep rgb;
} picture;

typedef struct colour {
  int r, g, b;
} colour;

/* The first, middle and last entries of viridis as published, times 255; and what plot.h promises. */
static const colour viridis_low = {68, 1, 84};
static const colour viridis_middle = {33, 145, 140};
static const colour viridis_high = {253, 231, 37};
static const colour frame_grey = {0x50, 0x50, 0x50};
static const colour white = {255, 255, 255};
static const colour series_blue = {0x00, 0x72, 0xB2};
static const colour series_vermilion = {0xD5, 0x5E, 0x00};

/* A rectangle inside a frame: a matrix, a colour bar, the field of a curve. */
typedef struct box {
  int x, y, width, height;
} box;

#define SHORTEST_FRAME 12
#define MOST_BOXES 64
#define BAR_WIDTH 16

static char folder[] = "/tmp/test-plot-XXXXXX";
static char path[sizeof folder + 32];
static th_plot *plot;
static th_error error;

static inline void start(th_plot_fonts fonts) {
  cr_assert_not_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/picture.png", folder);
  cr_assert_eq(th_plot_new(&plot, fonts, &error), TH_OK, "%s", error.text);
}

static inline void start_with_text(void) { start(TH_PLOT_SYSTEM_FONTS); }

static inline void start_without_text(void) { start(TH_PLOT_NO_FONTS); }

static inline int files_in_folder(void) {
  DIR *open = opendir(folder);
  int count = 0;
  for (struct dirent *entry; (entry = readdir(open));)
    count += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
  closedir(open);
  return count;
}

static inline void stop(void) {
  th_plot_free(plot);
  unlink(path);
  cr_expect_eq(rmdir(folder), 0, "something was left in %s", folder);
}

static inline picture read_picture(const char *name) {
  png_image image = {.version = PNG_IMAGE_VERSION};
  cr_assert(png_image_begin_read_from_file(&image, name), "%s: %s", name, image.message);
  cr_assert_eq(image.format, PNG_FORMAT_RGB);
  picture read = {(int)image.width, (int)image.height, malloc(PNG_IMAGE_SIZE(image))};
  cr_assert_not_null(read.rgb);
  cr_assert(png_image_finish_read(&image, NULL, read.rgb, 0, NULL), "%s: %s", name, image.message);
  return read;
}

static inline colour pixel(const picture *of, int x, int y) {
  const png_byte *at = of->rgb + ((size_t)y * (size_t)of->width + (size_t)x) * 3;
  return (colour){at[0], at[1], at[2]};
}

static inline bool same(colour a, colour b) { return a.r == b.r && a.g == b.g && a.b == b.b; }

static inline bool is(const picture *of, int x, int y, colour wanted) {
  return x >= 0 && y >= 0 && x < of->width && y < of->height && same(pixel(of, x, y), wanted);
}

static inline bool same_pictures(const picture *a, const picture *b) {
  return a->width == b->width && a->height == b->height &&
         memcmp(a->rgb, b->rgb, (size_t)a->width * (size_t)a->height * 3) == 0;
}

/* All frames, in reading order of their upper left corners. */
static inline int find_boxes(const picture *in, box found[MOST_BOXES]) {
  int count = 0;
  for (int y = 0; y < in->height; y++) {
    for (int x = 0; x < in->width; x++) {
      int run = 0, down = 0;
      while (is(in, x + run, y, frame_grey)) run++;
      while (run >= SHORTEST_FRAME && is(in, x, y + down, frame_grey)) down++;
      if (down >= SHORTEST_FRAME && !is(in, x, y - 1, frame_grey) && count < MOST_BOXES)
        found[count++] = (box){x + 1, y + 1, run - 2, down - 2};
      x += run;
    }
  }
  return count;
}

static inline colour cell_colour(const picture *in, box matrix, int rows, int columns, int row, int column) {
  int x = matrix.x + (2 * column + 1) * matrix.width / (2 * columns);
  int y = matrix.y + (2 * row + 1) * matrix.height / (2 * rows);
  return pixel(in, x, y);
}

#define expect_colour(seen, wanted) \
  do { \
    colour s_ = (seen), w_ = (wanted); \
    cr_expect(same(s_, w_), "%s: %d,%d,%d, wanted %d,%d,%d", #seen, s_.r, s_.g, s_.b, w_.r, w_.g, w_.b); \
  } while (0)

static inline th_tensor matrix_of(void *data, th_dtype dtype, int64_t rows, int64_t columns) {
  return th_tensor_of(data, dtype, 2, (int64_t[]){rows, columns});
}

static inline bool has_ink_on_border(const picture *in) {
  for (int x = 0; x < in->width; x++)
    if (!is(in, x, 0, white) || !is(in, x, in->height - 1, white)) return true;
  for (int y = 0; y < in->height; y++)
    if (!is(in, 0, y, white) || !is(in, in->width - 1, y, white)) return true;
  return false;
}

static inline bool row_has_ink(const picture *in, int from, int to, int y) {
  for (int x = from; x < to; x++)
    if (!is(in, x, y, white)) return true;
  return false;
}

/* From here on no file can grow past 64 bytes, as if the disk were full; `before` is what to set again. */
static inline void fill_disk(struct rlimit *before) {
  getrlimit(RLIMIT_FSIZE, before);
  struct rlimit full = *before;
  full.rlim_cur = 64;
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &full);
}

static inline void write_text(const char *text) {
  FILE *file = fopen(path, "w");
  cr_assert_not_null(file);
  fputs(text, file);
  fclose(file);
}

/* Whether `path` is the only file and holds this. */
static inline void expect_only_text(const char *wanted) {
  char text[64] = "";
  FILE *file = fopen(path, "r");
  cr_assert_not_null(file);
  cr_expect_not_null(fgets(text, sizeof text, file));
  fclose(file);
  cr_expect_str_eq(text, wanted);
  cr_expect_eq(files_in_folder(), 1);
}

static inline void need_fonts(void) {
  if (th_plot_has_text(plot)) return;
  stop(); /* which Criterion leaves out for a skipped test */
  cr_skip_test("this machine has no fonts");
}

#endif
