/* The report of a head study: whatever stands in the study comes through, and nothing else comes in. What it shows is
 * tested in a browser: make check-report. */
#include "translate_run.h"

#include "../examples/translate/report.h"

TestSuite(translate_report, .init = enter_directory, .fini = leave_directory);

static const char *const hostile[] = {"</script><script>alert(1)</script>",
                                      "<!--<script>",
                                      "\"quoted\" 'and' \\u003c \\",
                                      "\x01\x02\b\t\n\r\x1F\x7F",
                                      "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7",
                                      "\xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D \xE2\x80\xAE",
                                      "\xE2\x80\xA8\xE2\x80\xA9",
                                      "{{study.json}} {{page.js}} }}",
                                      "",
                                      "&lt;&amp;"};

/* {"tokens": [..], "hostile text": number}. */
static json_t *hostile_study(void) {
  json_t *study = json_object(), *tokens = json_array();
  for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
    cr_assert_eq(json_array_append_new(tokens, json_string(hostile[i])), 0);
    cr_assert_eq(json_object_set_new(study, hostile[i], json_integer((json_int_t)i)), 0);
  }
  cr_assert_eq(json_array_append_new(tokens, json_stringn("a\0b<", 4)), 0);
  cr_assert_eq(json_object_set_new(study, "tokens", tokens), 0);
  return study;
}

static char *page_of(const json_t *study) {
  th_error error = {0};
  size_t size;
  cr_assert_eq(write_report("report.html", study, &error), TH_OK, "%s", error.text);
  char *page = get("report.html", &size);
  cr_assert_eq(strlen(page), size);
  return page;
}

/* The study as a browser finds it: from the script's begin to the first thing that ends a script. */
static json_t *study_in(const char *page) {
  static const char begin[] = "<script id=\"study\" type=\"application/json\">";
  const char *from = strstr(page, begin);
  cr_assert_not_null(from);
  from += strlen(begin);
  const char *end = strstr(from, "</script");
  cr_assert_not_null(end);
  cr_assert_null(memchr(from, '<', (size_t)(end - from)), "a script in it may begin another, or a comment");
  json_error_t problem;
  json_t *study = json_loadb(from, (size_t)(end - from), JSON_ALLOW_NUL, &problem);
  cr_assert_not_null(study, "%s", problem.text);
  return study;
}

static int count_of(const char *text, const char *what) {
  int count = 0;
  for (; (text = strstr(text, what)); text += strlen(what)) count++;
  return count;
}

Test(translate_report, holds_the_study_whatever_its_texts) {
  json_t *study = hostile_study();
  char *page = page_of(study);
  json_t *found = study_in(page);
  cr_assert(json_equal(study, found));
  json_decref(found);
  json_decref(study);
  free(page);
}

Test(translate_report, has_two_scripts_and_no_mark_left_to_fill) {
  json_t *study = json_pack("{s:f}", "loss", 0.1);
  char *page = page_of(study);
  cr_assert_eq(count_of(page, "<script"), 2);
  cr_assert_eq(count_of(page, "</script>"), 2);
  cr_assert_eq(count_of(page, "{{"), 0);
  cr_assert_eq(count_of(page, "</html>"), 1);
  cr_assert(strstr(page, "{\"loss\":0.1}"), "a number has the digits that it is worth");
  json_decref(study);
  free(page);
}

/* The name of SVG is an address that nobody goes to. */
Test(translate_report, asks_for_nothing_from_elsewhere) {
  static const char *const loads[] = {"https:",         " src=",         "url(",  "@import", "import(",
                                      "fetch(",         "<link",         "<base", "<iframe", "<img",
                                      "XMLHttpRequest", "WebSocket",     "//cdn", "eval(",   "innerHTML",
                                      "sendBeacon",     "document.write"};
  json_t *study = json_object();
  char *page = page_of(study);
  for (size_t i = 0; i < sizeof loads / sizeof *loads; i++)
    cr_assert_null(strstr(page, loads[i]), "%s", loads[i]);
  cr_assert_eq(count_of(page, "http:"), count_of(page, "\"http://www.w3.org/2000/svg\""));
  for (const char *at = page; (at = strstr(at, "href")); at++)
    cr_assert(!strncmp(at, "href: \"#", 8) || !strncmp(at, "href: `#", 8), "%.40s", at);
  cr_assert(strstr(page, "default-src 'none'"), "the browser is told so, too");
  json_decref(study);
  free(page);
}

Test(translate_report, paints_in_the_colours_of_the_pictures) {
  json_t *study = json_object();
  char *page = page_of(study);
  cr_assert(strstr(page, "\"44015444025645045745055946"), "violet is nothing: the first of viridis");
  cr_assert(strstr(page, "fde725\";"), "yellow is all: the last");
  json_decref(study);
  free(page);
}

Test(translate_report, is_written_whole_or_not_at_all) {
  th_error error;
  json_t *study = json_object(), *list = json_array();
  put_text("report.html", "old");
  cr_assert_eq(write_report("report.html", list, &error), TH_EINVAL);
  cr_assert_str_eq(error.text, "report.html: the study is no JSON object");
  cr_assert_eq(write_report("none/report.html", study, &error), TH_EIO);
  cr_assert(!strncmp(error.text, "none/report.html: ", 18), "%s", error.text);
  char *page = get("report.html", &(size_t){0});
  cr_assert_str_eq(page, "old");
  free(page);
  json_decref(study);
  json_decref(list);
}
