#include "test_io_directory.h"

#include <sys/inotify.h>

TestSuite(safetensors, .init = enter_directory, .fini = leave_directory);

/* Writes a file of this header and `data` bytes of elements. */
static void put_archive(const char *header, size_t data) {
  char bytes[8192] = {0};
  uint64_t length = strlen(header);
  cr_assert(8 + length + data <= sizeof bytes);
  memcpy(bytes, &length, 8);
  memcpy(bytes + 8, header, length);
  put("m.safetensors", bytes, 8 + length + data);
}

static void assert_refused(const char *text) {
  th_error error;
  th_safetensors *archive;
  assert_fails(th_safetensors_load(&archive, "m.safetensors", &error), TH_EFORMAT, &error, text);
  cr_assert_null(archive);
}

/* Where the words are the JSON parser's, only the telling ones are asked for. */
static void assert_not_json(const char *header, const char *words) {
  th_error error;
  th_safetensors *archive;
  static const char begin[] = "m.safetensors: header: JSON at line 1, column ";
  put_archive(header, 4);
  cr_assert_eq(th_safetensors_load(&archive, "m.safetensors", &error), TH_EFORMAT);
  cr_assert(!strncmp(error.text, begin, sizeof begin - 1) && strstr(error.text, words), "%s", error.text);
}

#define HEADER_REFUSED(header, data, text) put_archive(header, data), assert_refused("m.safetensors: " text)

Test(safetensors, the_bytes_are_those_of_the_format) {
  float ab[] = {1, -2};
  uint8_t mask[] = {1, 0, 1};
  th_tensor a = th_tensor_of(ab, TH_F32, 2, (int64_t[]){1, 2}),
            m = th_tensor_of(mask, TH_U8, 1, (int64_t[]){3});
  th_named_tensor tensors[] = {{"w", &a}, {"mask", &m}};
  th_text_pair metadata[] = {{"step", "7"}};
  static const char expected[] = "\x90\0\0\0\0\0\0\0"
                                 "{\"__metadata__\":{\"step\":\"7\"},"
                                 "\"w\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
                                 "\"mask\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[8,11]}}    "
                                 "\0\0\x80\x3F\0\0\0\xC0"
                                 "\1\0\1";
  cr_assert_eq(th_safetensors_save("m.safetensors", tensors, 2, metadata, 1, NULL), TH_OK);
  assert_holds("m.safetensors", expected, sizeof expected - 1);
  cr_assert_eq(files_here(), 1);
}

Test(safetensors, every_type_comes_back_in_order_with_its_metadata) {
  float f = 0.1f;
  double d[] = {0.1, -1e300};
  int32_t i[] = {INT32_MIN, INT32_MAX};
  uint8_t u[] = {255};
  th_tensor t[] = {
      th_tensor_of(u, TH_U8, 1, (int64_t[]){1}),        th_tensor_of(&f, TH_F32, 0, NULL),
      th_tensor_of(d, TH_F64, 2, (int64_t[]){2, 1}),    th_tensor_of(i, TH_I32, 3, (int64_t[]){1, 2, 1}),
      th_tensor_of(NULL, TH_F32, 2, (int64_t[]){0, 5}),
  };
  th_named_tensor tensors[] = {{"z", &t[0]}, {"y", &t[1]}, {"x", &t[2]}, {"\xC3\xA4\n", &t[3]}, {"", &t[4]}};
  th_text_pair metadata[] = {{"seed", "1"}, {"note", "\"quoted\"\n"}};
  th_safetensors *archive;
  cr_assert_eq(th_safetensors_save("m.safetensors", tensors, 5, metadata, 2, NULL), TH_OK);
  cr_assert_eq(th_safetensors_load(&archive, "m.safetensors", NULL), TH_OK);
  cr_assert_eq(th_safetensors_count(archive), 5);
  for (size_t n = 0; n < 5; n++) {
    const th_tensor *got = th_safetensors_tensor(archive, n);
    cr_assert_str_eq(th_safetensors_name(archive, n), tensors[n].name);
    cr_assert_eq(th_safetensors_find(archive, tensors[n].name), got);
    cr_assert_eq(got->dtype, t[n].dtype);
    cr_assert(th_tensor_same_shape(got, &t[n]));
    cr_assert_eq((uintptr_t)got->data % th_dtype_size(got->dtype), 0, "%s lies askew", tensors[n].name);
    for (int64_t k = 0; k < th_tensor_count(got); k++)
      cr_assert_eq(th_tensor_get(got, k), th_tensor_get(&t[n], k));
  }
  cr_assert_null(th_safetensors_find(archive, "w"));
  cr_assert_null(th_safetensors_tensor(archive, 5));
  cr_assert_null(th_safetensors_name(archive, 5));
  cr_assert_str_eq(th_safetensors_metadata(archive, "note"), "\"quoted\"\n");
  cr_assert_null(th_safetensors_metadata(archive, "step"));
  th_safetensors_free(archive);
  th_safetensors_free(NULL);
}

Test(safetensors, a_view_is_written_in_row_major_order) {
  enum { ROWS = 70, COLUMNS = 130 }; /* more than one piece of the writer's */
  static double values[ROWS * COLUMNS];
  th_tensor whole = th_tensor_of(values, TH_F64, 2, (int64_t[]){ROWS, COLUMNS}), turned, row;
  th_safetensors *archive;
  for (int64_t i = 0; i < ROWS * COLUMNS; i++) values[i] = (double)i;
  turned = whole;
  turned.shape[0] = COLUMNS, turned.shape[1] = ROWS;
  turned.stride[0] = 1, turned.stride[1] = COLUMNS;
  row = whole;
  row.stride[0] = 0; /* the first row, repeated */
  th_named_tensor tensors[] = {{"turned", &turned}, {"row", &row}};
  cr_assert_eq(th_safetensors_save("m.safetensors", tensors, 2, NULL, 0, NULL), TH_OK);
  cr_assert_eq(th_safetensors_load(&archive, "m.safetensors", NULL), TH_OK);
  for (int64_t i = 0; i < ROWS * COLUMNS; i++) {
    cr_assert_eq(th_tensor_get(th_safetensors_tensor(archive, 0), i),
                 (double)(i % ROWS * COLUMNS + i / ROWS));
    cr_assert_eq(th_tensor_get(th_safetensors_tensor(archive, 1), i), (double)(i % COLUMNS));
  }
  th_safetensors_free(archive);
}

Test(safetensors, an_archive_may_be_empty) {
  th_safetensors *archive;
  cr_assert_eq(th_safetensors_save("m.safetensors", NULL, 0, NULL, 0, NULL), TH_OK);
  assert_holds("m.safetensors", "\10\0\0\0\0\0\0\0{}      ", 16);
  cr_assert_eq(th_safetensors_load(&archive, "m.safetensors", NULL), TH_OK);
  cr_assert_eq(th_safetensors_count(archive), 0);
  cr_assert_null(th_safetensors_metadata(archive, "step"));
  th_safetensors_free(archive);
}

Test(safetensors, a_name_cannot_be_saved_twice_or_broken) {
  th_error error;
  float f = 0;
  th_tensor t = th_tensor_of(&f, TH_F32, 0, NULL), negative = t;
  negative.ndim = 1, negative.shape[0] = -1;
#define SAVE_REFUSED(name1, name2, tensor2, text) \
  assert_fails( \
      th_safetensors_save("m", (th_named_tensor[]){{name1, &t}, {name2, &tensor2}}, 2, NULL, 0, &error), \
      TH_EINVAL, &error, text)
  SAVE_REFUSED("a", "a", t, "m: tensor \"a\" is given twice");
  SAVE_REFUSED("a", "\xFF", t, "m: tensor \"?\" is not valid UTF-8");
  SAVE_REFUSED("a", "__metadata__", t, "m: tensor \"__metadata__\" has the metadata's name");
  SAVE_REFUSED("a", "b", negative, "m: tensor \"b\" is too large");
  assert_fails(th_safetensors_save("m", NULL, 0, (th_text_pair[]){{"a", "1"}, {"a", "2"}}, 2, &error),
               TH_EINVAL, &error, "m: metadata key \"a\" is given twice");
  assert_fails(th_safetensors_save("m", NULL, 0, (th_text_pair[]){{"a", "\xC3"}}, 1, &error), TH_EINVAL,
               &error, "m: metadata key \"a\" has a value that is not valid UTF-8");
  cr_assert_eq(files_here(), 0);
}

Test(safetensors, a_directory_that_is_missing_is_named) {
  th_error error;
  th_safetensors *archive;
  assert_fails(th_safetensors_save("no/m", NULL, 0, NULL, 0, &error), TH_EIO, &error,
               "no/m: cannot write: No such file or directory");
  assert_fails(th_safetensors_load(&archive, "no/m", &error), TH_EIO, &error,
               "no/m: cannot read: No such file or directory");
}

#define A4 "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"

Test(safetensors, a_truncated_file_is_refused) {
  HEADER_REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[100],\"data_offsets\":[0,400]}}", 399,
                 "truncated: the header announces 400 bytes of tensors, the file holds 399");
  HEADER_REFUSED("{\"a\":{\"dtype\":\"U8\",\"shape\":[1000000000000],\"data_offsets\":[0,1000000000000]}}", 4,
                 "truncated: the header announces 1000000000000 bytes of tensors, the file holds 4");
  put_text("m.safetensors", "");
  assert_refused("m.safetensors: truncated: 0 bytes, fewer than the 8 of a header's length");
  put("m.safetensors", "\2\0\0\0\0\0\0", 7);
  assert_refused("m.safetensors: truncated: 7 bytes, fewer than the 8 of a header's length");
  put("m.safetensors", "\3\0\0\0\0\0\0\0{}", 10);
  assert_refused("m.safetensors: truncated: the header should be 3 bytes long, the file holds 2 of it");
}

Test(safetensors, a_header_over_the_limit_is_refused) {
  put("m.safetensors", "\1\xE1\xF5\5\0\0\0\0{}", 10);
  assert_refused("m.safetensors: not a safetensors file: its header would be 100000001 bytes long, "
                 "over the format's 100000000");
  put("m.safetensors", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10);
  assert_refused(
      "m.safetensors: not a safetensors file: its header would be 18446744073709551615 bytes long, "
      "over the format's 100000000");
}

Test(safetensors, a_header_that_is_no_object_is_refused) {
  HEADER_REFUSED("", 4, "not a safetensors file: its header is not a JSON object");
  HEADER_REFUSED("[1]", 4, "not a safetensors file: its header is not a JSON object");
  HEADER_REFUSED(" {}", 0, "not a safetensors file: its header is not a JSON object");
  assert_not_json("{\"a\"", "':' expected near end of file");
  assert_not_json("{}x", "end of file expected near 'x'");
  assert_not_json("{\"\xFF\":1}", "unable to decode byte 0xff near '\"'");
}

Test(safetensors, a_tensor_given_twice_is_refused) {
  assert_not_json("{" A4 "," A4 "}", "duplicate object key near '\"a\"'");
}

Test(safetensors, deep_nesting_is_refused) {
  char header[8000] = "{\"a\":";
  memset(header + 5, '[', 6000);
  assert_not_json(header, "maximum parsing depth");
}

Test(safetensors, a_tensor_that_is_not_described_is_refused) {
  HEADER_REFUSED("{\"a\":1}", 0, "tensor \"a\": not described by an object");
  HEADER_REFUSED("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
                 "tensor \"a\": \"dtype\" is missing or not a string");
  HEADER_REFUSED("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4,
                 "tensor \"a\": \"shape\" is missing or not an array");
  HEADER_REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4,
                 "tensor \"a\": \"data_offsets\" is missing or not two integers");
  HEADER_REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4,
                 "tensor \"a\": \"data_offsets\" is missing or not two integers");
  HEADER_REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.0]}}", 4,
                 "tensor \"a\": \"data_offsets\" is missing or not two integers");
}

Test(safetensors, a_type_that_is_unknown_is_refused) {
  HEADER_REFUSED("{\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
                 "tensor \"a\": type \"BF16\" is not one of F32, F64, I32, U8, BOOL");
}

Test(safetensors, bool_is_read_as_u8) {
  th_safetensors *archive;
  put_archive("{\"a\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2);
  cr_assert_eq(th_safetensors_load(&archive, "m.safetensors", NULL), TH_OK);
  cr_assert_eq(th_safetensors_find(archive, "a")->dtype, TH_U8);
  th_safetensors_free(archive);
}

#define SHAPE_REFUSED(shape, text) \
  HEADER_REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[0,4]}}", 4, \
                 "tensor \"a\": " text)

Test(safetensors, a_shape_that_cannot_be_is_refused) {
  SHAPE_REFUSED("[-1]", "\"shape\" holds the negative size -1");
  SHAPE_REFUSED("[1.5]", "\"shape\" holds something that is not an integer");
  SHAPE_REFUSED("1", "\"shape\" is missing or not an array");
  SHAPE_REFUSED("[1,1,1,1,1,1,1]", "7 dimensions, more than 6");
  SHAPE_REFUSED("[4611686018427387904]", "\"shape\" has more elements than can be counted");
  SHAPE_REFUSED("[4294967296,4294967296]", "\"shape\" has more elements than can be counted");
  SHAPE_REFUSED("[0,4294967296,4294967296]", "\"shape\" has more elements than can be counted");
  SHAPE_REFUSED("[2]", "f32 [2] takes 8 bytes, \"data_offsets\" [0,4] give it 4");
  assert_not_json("{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}",
                  "too big integer");
}

#define OFFSETS_REFUSED(begin, end, text) \
  HEADER_REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[" begin "," end "]}}", 4, \
                 "tensor \"a\": " text)

Test(safetensors, offsets_that_are_not_a_range_are_refused) {
  OFFSETS_REFUSED("4", "0", "\"data_offsets\" [4,0] are not a range");
  OFFSETS_REFUSED("-4", "0", "\"data_offsets\" [-4,0] are not a range");
  OFFSETS_REFUSED("0", "8", "f32 [1] takes 4 bytes, \"data_offsets\" [0,8] give it 8");
  OFFSETS_REFUSED(
      "0", "9223372036854775807",
      "f32 [1] takes 4 bytes, \"data_offsets\" [0,9223372036854775807] give it 9223372036854775807");
}

Test(safetensors, overlaps_and_holes_are_refused) {
  HEADER_REFUSED("{" A4 ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}", 6,
                 "tensor \"b\": bytes 2 to 6 overlap with another tensor's");
  HEADER_REFUSED("{" A4 ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
                 "tensor \"b\": bytes 0 to 4 overlap with another tensor's");
  HEADER_REFUSED("{" A4 ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[6,10]}}", 10,
                 "tensor \"b\": begins at byte 6, but no tensor has those from 4");
  HEADER_REFUSED("{" A4 "}", 7, "3 bytes after the last tensor belong to none");
}

Test(safetensors, metadata_that_is_not_text_is_refused) {
  HEADER_REFUSED("{\"__metadata__\":[]}", 0, "\"__metadata__\" is not an object");
  HEADER_REFUSED("{\"__metadata__\":{\"step\":7}}", 0, "metadata \"step\" is not a string");
}

Test(safetensors, a_name_in_an_error_stays_one_short_line) {
  char header[600], name[401] = {0};
  HEADER_REFUSED("{\"a\\n\\u001b\\u009b\":1}", 0, "tensor \"a?\?\?\?\": not described by an object");
  memset(name, 'n', 400);
  snprintf(header, sizeof header, "{\"%s\":1}", name);
  put_archive(header, 0);
  strcpy(name + 92, "...");
  snprintf(header, sizeof header, "m.safetensors: tensor \"%s\": not described by an object", name);
  assert_refused(header);
}

/* How many files of this directory were opened since it was watched, save m.safetensors. */
static int others_opened(int watch) {
  _Alignas(struct inotify_event) char events[4096];
  ssize_t size = read(watch, events, sizeof events);
  int others = 0;
  for (ssize_t at = 0; at < size;) {
    const struct inotify_event *event = (const void *)(events + at);
    if (event->len && strcmp(event->name, "m.safetensors") != 0) others++;
    at += (ssize_t)(sizeof *event + event->len);
  }
  close(watch);
  return others;
}

Test(safetensors, names_and_metadata_are_never_opened_as_files) {
  float f[] = {1};
  th_tensor t = th_tensor_of(f, TH_F32, 1, (int64_t[]){1});
  char here[128], absolute[160];
  cr_assert_not_null(getcwd(here, sizeof here));
  snprintf(absolute, sizeof absolute, "%s/other", here);
  th_named_tensor tensors[] = {{"other", &t}, {"./other", &t}, {"../other", &t}, {absolute, &t}};
  th_text_pair metadata[] = {{"path", "other"}, {"other", absolute}};
  th_params *set = th_params_new();
  th_error error;
  put_text("other", "a secret");
  cr_assert_eq(th_safetensors_save("m.safetensors", tensors, 4, metadata, 2, NULL), TH_OK);
  int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  cr_assert_geq(watch, 0);
  cr_assert_geq(inotify_add_watch(watch, ".", IN_OPEN | IN_CREATE | IN_MOVE), 0);
  th_safetensors *archive;
  cr_assert_eq(th_safetensors_load(&archive, "m.safetensors", NULL), TH_OK);
  cr_assert_eq(th_safetensors_read(archive, "m.safetensors", absolute, &t, NULL), TH_OK);
  cr_assert_str_eq(th_safetensors_metadata(archive, "path"), "other");
  th_safetensors_free(archive);
  cr_assert_eq(th_params_make(set, TH_F32, 1, NULL), TH_OK);
  assert_fails(th_params_load(set, "m.safetensors", &error), TH_EFORMAT, &error,
               "m.safetensors: the model has no parameter other");
  th_params_free(set);
  cr_assert_eq(others_opened(watch), 0);
}

Test(safetensors, a_parameter_that_no_model_has_is_named_on_one_line) {
  th_params *set = th_params_new();
  th_error error;
  cr_assert_eq(th_params_make(set, TH_F32, 1, NULL), TH_OK);
  put_archive("{\"a\\nb\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
  assert_fails(th_params_load(set, "m.safetensors", &error), TH_EFORMAT, &error,
               "m.safetensors: the model has no parameter a?b");
  th_params_free(set);
}

Test(safetensors, no_cut_or_changed_byte_of_a_file_does_harm) {
  char *bytes;
  size_t size;
  float f[] = {1, 2, 3};
  th_tensor t = th_tensor_of(f, TH_F32, 1, (int64_t[]){3});
  th_safetensors *archive;
  cr_assert_eq(th_safetensors_save("m", (th_named_tensor[]){{"a", &t}, {"b", &t}}, 2,
                                   (th_text_pair[]){{"k", "v"}}, 1, NULL),
               TH_OK);
  cr_assert_eq(th_file_read("m", &bytes, &size, NULL), TH_OK);
  for (size_t cut = 0; cut < size; cut++)
    cr_assert_eq(th_safetensors_parse(&archive, "m", bytes, cut, NULL), TH_EFORMAT);
  for (size_t at = 0; at < size; at++) {
    char old = bytes[at];
    for (int value = 0; value < 256; value++) {
      bytes[at] = (char)value;
      if (th_safetensors_parse(&archive, "m", bytes, size, NULL) == TH_OK) th_safetensors_free(archive);
      else cr_assert_null(archive);
    }
    bytes[at] = old;
  }
  free(bytes);
}
