/* A message as the journal takes it: every field on a line of its own, whatever is in it. */
#include <stdio.h>
#include <string.h>

#include "unit.h"
#include "util/log.h"

static void test_entry(void **state) {
        (void)state;
        char entry[1024];
        uid_t root = 0;
        LogFields fields = {.message_id = "0123456789abcdef0123456789abcdef", .request_id = 7, .model = "demo", .uid = &root};
        log_init("test");
        size_t n = log_journal_entry(entry, sizeof(entry), LOG_LEVEL_WARNING, &fields, "it failed");
        assert_string_equal(entry, "MESSAGE_ID=0123456789abcdef0123456789abcdef\nREQUEST_ID=7\nUID=0\nMODEL=demo\nPRIORITY=4\n"
                                   "SYSLOG_IDENTIFIER=test\nMESSAGE=it failed\n");
        assert_int_equal(n, strlen(entry));
        n = log_journal_entry(entry, sizeof(entry), LOG_LEVEL_INFO, NULL, "plain");
        assert_string_equal(entry, "PRIORITY=6\nSYSLOG_IDENTIFIER=test\nMESSAGE=plain\n");
        assert_int_equal(n, strlen(entry));
}

static void test_no_field_is_forged(void **state) {
        (void)state;
        char entry[1024];
        LogFields fields = {.model = "a\nPRIORITY=0\r\x01z"};
        log_journal_entry(entry, sizeof(entry), LOG_LEVEL_DEBUG, &fields, "one\nMESSAGE_ID=0");
        assert_string_equal(entry, "MODEL=a PRIORITY=0  z\nPRIORITY=7\nSYSLOG_IDENTIFIER=test\nMESSAGE=one MESSAGE_ID=0\n");
}

/* Cut where it must be, but always whole lines within the buffer. */
static void test_long(void **state) {
        (void)state;
        char text[4096], guarded[300];
        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = 0;
        LogFields fields = {.message_id = text, .model = text, .request_id = 1};
        for (size_t size = 4; size < 290; size++) {
                memset(guarded, '#', sizeof(guarded));
                size_t n = log_journal_entry(guarded, size, LOG_LEVEL_ERROR, &fields, text);
                assert_true(n < size);
                assert_int_equal(guarded[n], 0);
                assert_int_equal(guarded[n - 1], '\n');
                assert_int_equal(guarded[size], '#');
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_entry), cmocka_unit_test(test_no_field_is_forged),
                                           cmocka_unit_test(test_long)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
