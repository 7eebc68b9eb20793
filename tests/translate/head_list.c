/* Heads by name, in a line: what is read, what is refused, and that the shortest line is written. */
#include "../../examples/translate/head_list.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(head_list);

static const th_transformer_config config = {
    .encoder_layers = 2, .decoder_layers = 3, .layer = {.heads = 12}};

static void expect_written(const char *list, const char *wanted) {
  bool *listed;
  char text[PATH_TEXT];
  th_error error = {0};
  cr_assert_eq(head_list_parse("--heads", list, &config, &listed, &error), TH_OK, "%s", error.text);
  cr_assert_eq(head_list_write(listed, &config, text, &error), TH_OK, "%s", error.text);
  cr_assert_str_eq(text, wanted);
  free(listed);
}

static void expect_refused(const char *list, const char *wanted) {
  bool *listed;
  th_error error = {0};
  cr_assert_eq(head_list_parse("--heads", list, &config, &listed, &error), TH_EINVAL, "%s", list);
  cr_assert_null(listed);
  cr_assert_str_eq(error.text, wanted);
}

Test(head_list, names_each_head_that_it_says) {
  bool *listed;
  const int wanted[] = {1, 3, 12 + 11, 24 + 0, 24 + 1, 24 + 2, 24 + 36 + 24 + 5};
  cr_assert_eq(head_list_parse("--heads", "enc0.1,3,enc1.11,dec0.0-2,cross2.5", &config, &listed, NULL),
               TH_OK);
  for (int i = 0, k = 0; i < 96; i++) {
    bool want = k < 7 && wanted[k] == i;
    cr_assert_eq(listed[i], want, "head %d", i);
    k += want;
  }
  free(listed);
}

Test(head_list, is_written_as_short_as_can_be) {
  expect_written("enc0.1", "enc0.1");
  expect_written("cross2.11,dec1.4,enc1.0,enc0.1", "enc0.1,enc1.0,dec1.4,cross2.11");
  expect_written("enc0.2,enc0.1,enc0.0,enc0.4", "enc0.0-2,4");
  expect_written("enc0.0-11,enc1.0-11", "enc0.0-11,enc1.0-11");
  expect_written("dec2.1-1,3", "dec2.1,3");
}

#define NO_HEAD(text) "--heads: \"" text "\" is no head: want a list such as enc0.1,cross1.0-2"
#define NONE_SUCH(label) \
  "--heads: there is no head " label ": want enc0.0 to enc1.11, dec0.0 to dec2.11 or cross0.0 to cross2.11"

Test(head_list, is_read_to_the_letter) {
  expect_refused("", NO_HEAD(""));
  expect_refused("1", NO_HEAD("1"));
  expect_refused("enc", NO_HEAD("enc"));
  expect_refused("enc0", NO_HEAD("enc0"));
  expect_refused("enc0.", NO_HEAD("enc0."));
  expect_refused("enc.1", NO_HEAD("enc.1"));
  expect_refused("enc0.1,", NO_HEAD(""));
  expect_refused("enc0.1,,2", NO_HEAD(",2"));
  expect_refused("enc0.1 enc0.2", NO_HEAD("enc0.1 enc0.2"));
  expect_refused("enc0.1, enc0.2", NO_HEAD(" enc0.2"));
  expect_refused("Enc0.1", NO_HEAD("Enc0.1"));
  expect_refused("encoder0.1", NO_HEAD("encoder0.1"));
  expect_refused("enc0.01", NO_HEAD("enc0.01"));
  expect_refused("enc0.+1", NO_HEAD("enc0.+1"));
  expect_refused("enc0.-1", NO_HEAD("enc0.-1"));
  expect_refused("enc0.3-1", NO_HEAD("enc0.3-1"));
  expect_refused("enc0.3-", NO_HEAD("enc0.3-"));
  expect_refused("enc0.1-2-3", NO_HEAD("enc0.1-2-3"));
  expect_refused("enc0.99999999999999999999", NO_HEAD("enc0.99999999999999999999"));
}

Test(head_list, knows_the_heads_of_the_model) {
  expect_refused("enc0.12", NONE_SUCH("enc0.12"));
  expect_refused("enc2.0", NONE_SUCH("enc2.0"));
  expect_refused("dec0.0,cross3.1", NONE_SUCH("cross3.1"));
  expect_refused("dec0.10-12", NONE_SUCH("dec0.12"));
  expect_refused("enc0.1,dec0.1,enc0.1", "--heads: enc0.1 is named twice");
  expect_refused("enc0.1-3,2", "--heads: enc0.2 is named twice");
}

Test(head_list, has_room_for_half_of_288_heads_but_not_for_any_number) {
  th_transformer_config large = {.encoder_layers = 6, .decoder_layers = 6, .layer = {.heads = 16}};
  bool listed[3 * 6 * 64] = {false}, *again;
  char text[PATH_TEXT];
  th_error error;
  for (int i = 0; i < 3 * 6 * 64; i += 2) listed[i] = true;
  cr_assert_eq(head_list_write(listed, &large, text, NULL), TH_OK);
  cr_assert_eq(head_list_parse("", text, &large, &again, NULL), TH_OK);
  cr_assert_eq(memcmp(again, listed, 3 * 6 * 16), 0);
  free(again);
  large.layer.heads = 64;
  cr_assert_eq(head_list_write(listed, &large, text, &error), TH_EINVAL);
  cr_assert_str_eq(error.text, "the list of all heads that are removed takes more than 1023 bytes");
}
