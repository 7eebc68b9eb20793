#include "test_io_directory.h"

TestSuite(npy, .init = enter_directory, .fini = leave_directory);

/* Writes a version 1.0 file of this dictionary and `data` bytes of elements. */
static void put_npy(const char *dictionary, size_t data) {
  char bytes[1024] = "\x93NUMPY\1";
  size_t length = strlen(dictionary);
  cr_assert(10 + length + data <= sizeof bytes);
  bytes[8] = (char)(length & 0xFF);
  bytes[9] = (char)(length >> 8);
  memcpy(bytes + 10, dictionary, length);
  put("a.npy", bytes, 10 + length + data);
}

static void assert_refused(const char *text) {
  th_error error;
  th_tensor tensor;
  assert_fails(th_npy_load(&tensor, "a.npy", &error), TH_EFORMAT, &error, text);
  cr_assert_null(tensor.data);
}

#define DICTIONARY_REFUSED(dictionary, data, text) put_npy(dictionary, data), assert_refused("a.npy: " text)

Test(npy, the_bytes_are_those_of_numpy) {
  float f[] = {1, -2};
  th_tensor t = th_tensor_of(f, TH_F32, 1, (int64_t[]){2});
  char expected[136];
  memset(expected, ' ', sizeof expected);
  memcpy(expected, "\x93NUMPY\1\0\x76\0{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 67);
  memcpy(expected + 127, "\n\0\0\x80\x3F\0\0\0\xC0", 9);
  cr_assert_eq(th_npy_save("a.npy", &t, NULL), TH_OK);
  assert_holds("a.npy", expected, sizeof expected);
}

Test(npy, every_type_and_shape_comes_back) {
  float f = 0.1f;
  double d[] = {0.1, -1e300, 3, 4};
  int32_t i[] = {INT32_MIN, INT32_MAX};
  uint8_t u[] = {255};
  th_tensor t[] = {
      th_tensor_of(u, TH_U8, 1, (int64_t[]){1}),
      th_tensor_of(&f, TH_F32, 0, NULL),
      th_tensor_of(d, TH_F64, 2, (int64_t[]){2, 2}),
      th_tensor_of(i, TH_I32, 6, (int64_t[]){1, 1, 1, 1, 2, 1}),
      th_tensor_of(NULL, TH_F32, 2, (int64_t[]){0, 1000}),
      th_tensor_of(d, TH_F64, 2, (int64_t[]){2, 2}),
  };
  t[5].stride[0] = 1, t[5].stride[1] = 2; /* transposed */
  for (size_t n = 0; n < 6; n++) {
    th_tensor got;
    cr_assert_eq(th_npy_save("a.npy", &t[n], NULL), TH_OK);
    cr_assert_eq(th_npy_load(&got, "a.npy", NULL), TH_OK);
    cr_assert_eq(got.dtype, t[n].dtype);
    cr_assert(th_tensor_same_shape(&got, &t[n]));
    for (int64_t k = 0; k < th_tensor_count(&got); k++)
      cr_assert_eq(th_tensor_get(&got, k), th_tensor_get(&t[n], k));
    th_tensor_free(&got);
  }
}

Test(npy, the_longest_shape_fits_the_header) {
  th_error error;
  th_tensor t = th_tensor_of(NULL, TH_U8, 6, (int64_t[]){0, 1, 1, 1, 1, TH_MAX_ELEMENTS}), got;
  cr_assert_eq(th_npy_save("a.npy", &t, NULL), TH_OK);
  cr_assert_eq(th_npy_load(&got, "a.npy", &error), TH_OK, "%s", error.text);
  cr_assert(th_tensor_same_shape(&got, &t));
  th_tensor_free(&got);
}

Test(npy, a_tensor_that_is_too_large_is_not_written) {
  th_error error;
  th_tensor t = {.dtype = TH_F64, .ndim = 2, .shape = {INT64_MAX, 2}};
  assert_fails(th_npy_save("a.npy", &t, &error), TH_EINVAL, &error,
               "a.npy: not a tensor that can be written");
  t = (th_tensor){.dtype = TH_F64, .ndim = TH_MAX_DIMS + 1};
  assert_fails(th_npy_save("a.npy", &t, &error), TH_EINVAL, &error,
               "a.npy: not a tensor that can be written");
}

Test(npy, keys_in_another_order_and_version_2_are_read) {
  th_tensor got;
  put_npy("{\"shape\": ( 1 , 2 ), 'fortran_order':False,'descr': '|b1'}", 2);
  cr_assert_eq(th_npy_load(&got, "a.npy", NULL), TH_OK);
  cr_assert_eq(got.dtype, TH_U8);
  cr_assert_eq(got.ndim, 2);
  th_tensor_free(&got);
  static const char two[] =
      "\x93NUMPY\2\0\x3a\0\0\0{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }\n\7";
  put("a.npy", two, sizeof two - 1);
  cr_assert_eq(th_npy_load(&got, "a.npy", NULL), TH_OK);
  cr_assert_eq(th_tensor_get(&got, 0), 7);
  th_tensor_free(&got);
}

#define SHAPED(shape) "{'descr': '<f4', 'fortran_order': False, 'shape': " shape "}"

Test(npy, a_file_that_is_none_is_refused) {
  put_text("a.npy", "");
  assert_refused("a.npy: not an npy file");
  put_text("a.npy", "PK\3\4 and more");
  assert_refused("a.npy: not an npy file");
  put("a.npy", "\x93NUMPY\4\0\0\0", 10);
  assert_refused("a.npy: npy version 4.0 is unknown");
}

Test(npy, a_truncated_file_is_refused) {
  put("a.npy", "\x93NUMPY\1\0\3\0{}", 12);
  assert_refused("a.npy: truncated: the header is not whole");
  put("a.npy", "\x93NUMPY\2\0\0\0", 10);
  assert_refused("a.npy: truncated: the header is not whole");
  put("a.npy", "\x93NUMPY\2\0\0\0\0\xFF", 12);
  assert_refused("a.npy: truncated: the header is not whole");
  DICTIONARY_REFUSED(SHAPED("(2,)"), 7,
                     "truncated: the header announces 8 bytes of elements, the file holds 7");
  DICTIONARY_REFUSED(SHAPED("(2,)"), 9,
                     "too long: the header announces 8 bytes of elements, the file holds 9");
  DICTIONARY_REFUSED(SHAPED("(1000000000000,)"), 4,
                     "truncated: the header announces 4000000000000 bytes of elements, the file holds 4");
}

Test(npy, a_type_that_is_unknown_is_refused) {
  DICTIONARY_REFUSED("{'descr': '>f4', 'fortran_order': False, 'shape': ()}", 4,
                     "type '>f4' is not one of <f4, <f8, <i4, |u1, |b1");
  DICTIONARY_REFUSED("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': ()}", 4,
                     "header: 'descr' is not a string");
}

Test(npy, column_major_order_is_refused) {
  DICTIONARY_REFUSED("{'descr': '<f4', 'fortran_order': True, 'shape': ()}", 4,
                     "column-major; save numpy.ascontiguousarray(array)");
  DICTIONARY_REFUSED("{'descr': '<f4', 'fortran_order': 0, 'shape': ()}", 4,
                     "header: 'fortran_order' is neither True nor False");
}

Test(npy, a_shape_that_cannot_be_is_refused) {
  DICTIONARY_REFUSED(SHAPED("(1)"), 4, "header: 'shape' is not a tuple");
  DICTIONARY_REFUSED(SHAPED("[1]"), 4, "header: 'shape' is not a tuple");
  DICTIONARY_REFUSED(SHAPED("(-1,)"), 4, "header: 'shape' is not a tuple of sizes");
  DICTIONARY_REFUSED(SHAPED("(1 1)"), 4, "header: 'shape' is not a tuple of sizes");
  DICTIONARY_REFUSED(SHAPED("(,)"), 4, "header: 'shape' is not a tuple of sizes");
  DICTIONARY_REFUSED(SHAPED("(99999999999999999999,)"), 4, "header: 'shape' is not a tuple of sizes");
  DICTIONARY_REFUSED(SHAPED("(1,1,1,1,1,1,1)"), 4, "more than 6 dimensions");
  DICTIONARY_REFUSED(SHAPED("(4294967296,4294967296)"), 4,
                     "header: 'shape' has more elements than can be counted");
  DICTIONARY_REFUSED("{'descr': '<f4', 'fortran_order': False, 'shape': (1", 4,
                     "header: 'shape' is not a tuple of sizes");
}

Test(npy, a_dictionary_that_is_none_is_refused) {
  DICTIONARY_REFUSED("", 4, "header: not a dictionary");
  DICTIONARY_REFUSED("{", 0, "header: not a dictionary");
  DICTIONARY_REFUSED("{'descr' '<f4'}", 4, "header: not a dictionary");
  DICTIONARY_REFUSED("{'descr': '<f4' 'shape': ()}", 4, "header: not a dictionary");
  DICTIONARY_REFUSED("{'descr", 4, "header: not a dictionary");
  DICTIONARY_REFUSED("{}", 4, "header: 'descr', 'fortran_order' or 'shape' is missing");
  DICTIONARY_REFUSED("{'descr': '<f4', 'descr': '<f4'}", 4, "header: a key that is unknown or given twice");
  DICTIONARY_REFUSED("{'order': 'C'}", 4, "header: a key that is unknown or given twice");
  DICTIONARY_REFUSED(SHAPED("(1,)") "x", 4, "header: more than a dictionary");
}

Test(npy, a_missing_file_is_named) {
  th_error error;
  th_tensor tensor;
  assert_fails(th_npy_load(&tensor, "no.npy", &error), TH_EIO, &error,
               "no.npy: cannot read: No such file or directory");
}
