/* A model's text told apart: every sample whole, byte by byte, and cut at each place; and the forms of published templates. */
#include <time.h>

#include "text/split.h"
#include "unit.h"

typedef struct Sample {
        unsigned forms;
        const char *text;
        const char *said; /* "thoughts|content|name(arguments)name(arguments)…" */
} Sample;

#define CHANNELS (SPLIT_CHANNELS | SPLIT_CHANNEL_CALLS)
#define TAGS (SPLIT_THINK_TAGS | SPLIT_CALL_TAGS)

static const Sample samples[] = {
        /* no form: all is content */
        {0, " <think>a</think><tool_call>{\"name\":\"f\",\"arguments\":{}}", "| <think>a</think><tool_call>{\"name\":\"f\",\"arguments\":{}}|"},
        {TAGS, "", "||"},
        {TAGS, " \n", "| \n|"},
        {TAGS, "\n Hello <b>world</b>. ", "|\n Hello <b>world</b>. |"},
        /* thoughts */
        {TAGS, "<think>\nHm, \n <3\n</think>\n\nYes.\n", "Hm, \n <3|Yes.\n|"},
        {TAGS, " \n<think>a</think>b", "a|b|"},
        {TAGS, "<think>\n\n</think>\n\nYes", "|Yes|"},
        {TAGS, "<think>a</thin", "a</thin||"},
        {TAGS, "<think> a \n", "a \n||"},
        {TAGS, "<think>a</think>", "a||"},
        {TAGS, "<thin", "|<thin|"},
        {TAGS, "<thinker>", "|<thinker>|"},
        {TAGS, "say <think>a</think>", "|say <think>a</think>|"},
        {TAGS, "<think>a<think>b</think>c<think>d</think>", "a<think>b|c<think>d</think>|"},
        {SPLIT_CALL_TAGS, "<think>a</think>b", "|<think>a</think>b|"},
        {SPLIT_THINK_BRACKETS | SPLIT_CALL_BRACKETS, "[THINK]a]b[/THIN[/THINK]c", "a]b[/THIN|c|"},
        {TAGS | SPLIT_THINKING, "\nHm.\n</think>\n\nYes <think>", "Hm.|Yes <think>|"},
        {TAGS | SPLIT_THINKING, "</think>Yes", "|Yes|"},
        {TAGS | SPLIT_THINKING, "Grüße 世界", "Grüße 世界||"},
        /* calls between tags */
        {TAGS, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, 2.50], \"b\": \"x  y\"}}\n</tool_call>",
         "||f({\"a\":[1,2.50],\"b\":\"x  y\"})"},
        {TAGS, "<think>\nAsk.\n</think>\n\nI ask.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n"
               "<tool_call>\n{\"arguments\": {\"name\": \"g\"}, \"name\": \"h\"}\n</tool_call>\n", "Ask.|I ask.\n|f({})h({\"name\":\"g\"})"},
        {TAGS, "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call> Done.", "|Done.|f({})"},
        {TAGS, "<tool_call>{\"name\":\"f\",\"arguments\":{}}", "||f({})"},
        {TAGS, "<tool_call>{\"name\":\"f\",\"arguments\":{}}\n</tool_c", "||f({})"},
        {TAGS, "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool>", "|</tool>|f({})"},
        {TAGS, "<tool_call>{\"name\":\"wr\\u0069te\",\"arguments\":{\"t\":\"</tool_call>\\\"}{\\\\\"}}</tool_call>",
         "||write({\"t\":\"</tool_call>\\\"}{\\\\\"})"},
        {TAGS, "<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":1},\"arguments\":{\"x\":2}}</tool_call>", "||f({\"x\":2})"},
        {TAGS, "<tool_call>{\"name\":\"f\",\"parameters\":{\"x\":-1.0e-5,\"y\":null,\"z\":[{}]}}</tool_call>",
         "||f({\"x\":-1.0e-5,\"y\":null,\"z\":[{}]})"},
        /* what only begins like one is given back as it was */
        {TAGS, "the <tool_call> tag", "|the <tool_call> tag|"},
        {TAGS, "a < b <tool_cal", "|a < b <tool_cal|"},
        {TAGS, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": }}\n</tool_call>\n",
         "|<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": }}\n</tool_call>\n|"},
        {TAGS, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}", "|<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}|"},
        {TAGS, "<tool_call>{\"name\": \"f\"}</tool_call>", "|<tool_call>{\"name\": \"f\"}</tool_call>|"},
        {TAGS, "<tool_call>{\"name\": 7, \"arguments\": {}}", "|<tool_call>{\"name\": 7, \"arguments\": {}}|"},
        {TAGS, "<tool_call>{\"name\": \"f\", \"arguments\": \"x\"}", "|<tool_call>{\"name\": \"f\", \"arguments\": \"x\"}|"},
        {TAGS, "<tool_call>[]</tool_call>", "|<tool_call>[]</tool_call>|"},
        {TAGS, "<tool_call>{]<tool_call>{\"name\":\"f\",\"arguments\":{}}", "|<tool_call>{]|f({})"},
        {TAGS, "<tool_call>f<tool_call>{\"name\":\"f\",\"arguments\":{}}", "|<tool_call>f|f({})"},
        {TAGS, "<tool_call>  ", "|<tool_call>  |"},
        /* lists */
        {SPLIT_CALL_LIST_TAGS, "<tool_calls>[{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"1\"}, {\"name\": \"g\", \"arguments\": {}}]</tool_calls>",
         "||f({\"a\":1})g({})"},
        {SPLIT_CALL_LIST, "<|tool_call|> [ {\"name\": \"f\", \"arguments\": {\"a\": 1}} ]", "||f({\"a\":1})"},
        {SPLIT_CALL_LIST, "<|tool_call|>[{\"name\": \"f\", \"arguments\": {}}, 7]", "|<|tool_call|>[{\"name\": \"f\", \"arguments\": {}}, 7]|"},
        /* Mistral's two ways */
        {SPLIT_CALL_BRACKETS, "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": \"]\"}}, {\"name\": \"g\", \"arguments\": {}}]", "||f({\"a\":\"]\"})g({})"},
        {SPLIT_CALL_BRACKETS, "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}, \"id\": \"abcdefghi\"}]", "||f({})"},
        {SPLIT_CALL_BRACKETS, "Now:[TOOL_CALLS]get_it[ARGS]{\"a\": 1}[TOOL_CALLS]g[CALL_ID]abcdefghi[ARGS] {}", "|Now:|get_it({\"a\":1})g({})"},
        {SPLIT_CALL_BRACKETS, "[TOOL_CALLS]f[ARGS]", "|[TOOL_CALLS]f[ARGS]|"},
        {SPLIT_CALL_BRACKETS, "[TOOL_CALLS]f[ARGS] [1]", "|[TOOL_CALLS]f[ARGS] [1]|"},
        {SPLIT_CALL_BRACKETS, "[TOOL_CALLS][ARGS]{}", "|[TOOL_CALLS][ARGS]{}|"},
        {SPLIT_CALL_BRACKETS, "[TOOL_CALLS]f[ARGS]{\"a\":}", "|[TOOL_CALLS]f[ARGS]{\"a\":}|"},
        /* of which the prompt has the mark already */
        {SPLIT_CALL_TAGS | SPLIT_CALLING, "{\"name\": \"f\", \"arguments\": {}}", "||f({})"},
        {SPLIT_CALL_BRACKETS | SPLIT_CALLING, " [{\"name\": \"f\", \"arguments\": {}}]", "||f({})"},
        {SPLIT_CALL_TAGS | SPLIT_CALLING, "{\"name\": \"f\", \"arg", "|{\"name\": \"f\", \"arg|"},
        {SPLIT_CALL_TAGS | SPLIT_CALLING, "no", "|no|"},
        /* Llama's */
        {SPLIT_CALL_BARE, "{\"name\": \"f\", \"parameters\": {\"a\": \"b\"}}", "||f({\"a\":\"b\"})"},
        {SPLIT_CALL_BARE, "\n<|python_tag|>{\"name\": \"f\", \"parameters\": {}}", "|\n|f({})"},
        {SPLIT_CALL_BARE, " {\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {}}\n{\"name\": \"h\", \"parameters\": {}}",
         "||f({})g({})h({})"},
        {SPLIT_CALL_BARE, "<|python_tag|>brave_search.call(query=\"x\")", "|<|python_tag|>brave_search.call(query=\"x\")|"},
        {SPLIT_CALL_BARE, "{\"name\": \"Ann\", \"age\": 7} is right", "|{\"name\": \"Ann\", \"age\": 7} is right|"},
        {SPLIT_CALL_BARE, "So: {\"name\": \"f\", \"parameters\": {}}", "|So: {\"name\": \"f\", \"parameters\": {}}|"},
        {SPLIT_CALL_BARE, "{\"name\": \"f\", \"par", "|{\"name\": \"f\", \"par|"},
        /* messages */
        {CHANNELS, "<|channel|>analysis<|message|>Hm <3.<|end|><|start|>assistant<|channel|>final<|message|>Yes.", "Hm <3.|Yes.|"},
        {CHANNELS, "<|channel|>final<|message|> Yes <|en", "| Yes <|en|"},
        {CHANNELS, "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>analysis<|message|>b<|end|>"
                         "<|start|>assistant<|channel|>commentary<|message|>c<|start|>assistant<|channel|>final<|message|>d<|end|>", "a\nb|c\nd|"},
        {CHANNELS, "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary to=functions.get_it <|constrain|>json<|message|>"
                         "{\"a\": \"<|x\", \"b\": 1.50}", "a||get_it({\"a\":\"<|x\",\"b\":1.50})"},
        {CHANNELS, " to=functions.f<|channel|>commentary json<|message|> {}<|end|><|start|>assistant to=functions.g<|channel|>commentary<|message|>{\"x\": {}}<|end|>",
         "||f({})g({\"x\":{}})"},
        {CHANNELS, "<|channel|>commentary to=functions.f<|message|>{\"a\":<|end|>", "|<|channel|>commentary to=functions.f<|message|>{\"a\":|"},
        {CHANNELS, "<|channel|>commentary to=functions.f<|message|>[1]", "|<|channel|>commentary to=functions.f<|message|>[1]|"},
        {CHANNELS, "<|channel|>commentary to=browser.open<|message|>{}", "|{}|"},
        {CHANNELS, "<|channel|>anal", "||"},
        {CHANNELS, "<|channel|>final<|message|>a<|end|><|start|>assis", "|a|"},
        {CHANNELS, "no header at all", "|no header at all|"},
        {CHANNELS, "", "||"},
        {CHANNELS, "<b>hi</b>", "|<b>hi</b>|"},
        {CHANNELS, " to=functions.f<|channel|>comm", "||"},
        {CHANNELS, "<|channel|>commentary to=functions.f<|message|>{\"code\": \"<|end|><|start|>\"}<|end|><|start|>assistant<|channel|>final<|message|>a",
         "|a|f({\"code\":\"<|end|><|start|>\"})"},
        {SPLIT_CHANNELS, "<|channel|>commentary to=functions.f<|message|>{}", "|{}|"},
};

static void show(const Split *s, Buf *out) {
        const SplitCall *calls;
        size_t n = split_calls(s, &calls);
        buf_put(out, s->thinking.data, s->thinking.len);
        buf_putc(out, '|');
        buf_put(out, s->content.data, s->content.len);
        buf_putc(out, '|');
        assert_int_equal(n, s->n_calls);
        for (size_t i = 0; i < n; i++) {
                const char *text = s->call_text.data;
                buf_printf(out, "%.*s(%.*s)", (int)calls[i].name_len, text + calls[i].name, (int)calls[i].arguments_len, text + calls[i].arguments);
        }
}

/* In pieces of `step` bytes, the first of `first`. */
static void check(const Sample *sample, size_t first, size_t step) {
        _cleanup_buf_ Buf got = BUF_NULL;
        size_t n = strlen(sample->text), at = 0;
        Split s = {0};
        split_init(&s, sample->forms);
        for (size_t len = MIN(first, n); at < n; at += len, len = MIN(step, n - at))
                split_put(&s, sample->text + at, len, false);
        split_put(&s, NULL, 0, true);
        assert_false(split_failed(&s));
        assert_int_equal(s.held.len, 0);
        show(&s, &got);
        if (strcmp(got.data, sample->said) != 0)
                fail_msg("%s\ncut %zu, then %zu\nexpected %s\ngot      %s", sample->text, first, step, sample->said, got.data);
        split_deinit(&s);
}

static void test_samples(void **state) {
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
                size_t n = strlen(samples[i].text);
                for (size_t cut = 0; cut <= n; cut++)
                        check(&samples[i], cut, n + 1);
                for (size_t step = 1; step <= 5; step++)
                        for (size_t first = 1; first <= step; first++)
                                check(&samples[i], first, step);
        }
}

/* The last piece may bring text, too, and what came of the text may be taken at any time. */
static void test_taken_between(void **state) {
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
                const char *text = samples[i].text;
                _cleanup_buf_ Buf got = BUF_NULL, calls = BUF_NULL;
                Split s = {0}, all = {0};
                split_init(&s, samples[i].forms);
                for (; *text; text++) {
                        const SplitCall *call;
                        split_put(&s, text, 1, !text[1]);
                        buf_put(&all.thinking, s.thinking.data, s.thinking.len);
                        buf_put(&all.content, s.content.data, s.content.len);
                        for (size_t n = split_calls(&s, &call); n > 0; n--, call++)
                                buf_printf(&calls, "%.*s(%.*s)", (int)call->name_len, s.call_text.data + call->name, (int)call->arguments_len,
                                           s.call_text.data + call->arguments);
                        split_clear(&s);
                }
                show(&all, &got);
                buf_put(&got, calls.data, calls.len);
                assert_string_equal(got.data, samples[i].said);
                split_deinit(&s);
                split_deinit(&all);
        }
}

static void test_most(void **state) {
        (void)state;
        static const char text[] = "a<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call><tool_call>{\"name\":\"g\",\"arguments\":{}}</tool_call>b";
        _cleanup_buf_ Buf got = BUF_NULL;
        Split s = {0};
        split_init(&s, SPLIT_CALL_TAGS);
        s.most = 1;
        split_put(&s, text, strlen(text), true);
        show(&s, &got);
        assert_string_equal(got.data, "|ab|f({})");
        assert_int_equal(split_size(&s), 2 + sizeof(SplitCall) + 3);
        split_deinit(&s);
}

/* Time grows with the text, not with its square, whatever it is: that is seconds, not minutes. */
static void test_hostile(void **state) {
        (void)state;
        clock_t began = clock();
        static const char *const parts[] = {"<tool_call>{", "<tool_call>{\"", "<tool_call>{}", "[TOOL_CALLS]x", "[TOOL_CALLS]", "{", "<", "[TOOL_CALLS]f[ARGS]{",
                                            "<|python_tag|>{\"a\":[", " ", "\n<think>"};
        static const unsigned forms[] = {TAGS, SPLIT_CALL_BRACKETS, SPLIT_CALL_BARE, TAGS | SPLIT_THINKING};
        for (size_t f = 0; f < ARRAY_SIZE(forms); f++)
                for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
                        Split s = {0};
                        size_t sum = 0;
                        split_init(&s, forms[f]);
                        for (size_t n = 0; n < 50000; n++) {
                                split_put(&s, parts[i], strlen(parts[i]), n == 49999);
                                sum += s.content.len + s.thinking.len;
                                split_clear(&s);
                        }
                        assert_true(sum <= 50000 * strlen(parts[i]));
                        split_deinit(&s);
                }
        assert_true((clock() - began) / CLOCKS_PER_SEC < 60);
}

/* What is too long for a header is content, wherever it is cut. */
static void check_long_header(size_t length, bool is_one) {
        _cleanup_buf_ Buf text = BUF_NULL, said = BUF_NULL;
        buf_puts(&text, "<|channel|>");
        while (text.len < length)
                buf_putc(&text, 'x');
        buf_puts(&text, "<|message|>a");
        buf_printf(&said, "|%s|", is_one ? "a" : text.data);
        Sample sample = {SPLIT_CHANNELS, text.data, said.data};
        check(&sample, text.len, 1);
        check(&sample, 1, 1);
}

static void test_no_header(void **state) {
        (void)state;
        for (size_t length = 500; length <= 530; length++)
                check_long_header(length, length <= 512);
        _cleanup_buf_ Buf text = BUF_NULL, said = BUF_NULL;
        buf_puts(&text, "<|channel|>");
        for (int i = 0; i < 600; i++)
                buf_putc(&text, 'x');
        buf_puts(&text, "<|message|>a<|end|><|channel|>analysis<|message|>b");
        buf_printf(&said, "b|%.*s|", (int)(text.len - strlen("<|end|><|channel|>analysis<|message|>b")), text.data);
        Sample sample = {CHANNELS, text.data, said.data};
        check(&sample, text.len, 1);
        check(&sample, 1, 1);
        check(&sample, 517, 100);
}

/* ---- what templates and prompts tell ---- */

static void test_forms(void **state) {
        (void)state;
        static const struct {
                const char *name;
                unsigned forms;
        } known[] = {
                {"Qwen-Qwen3-0.6B", TAGS}, {"Qwen-Qwen2.5-7B-Instruct", SPLIT_CALL_TAGS}, {"Qwen-QwQ-32B", TAGS},
                {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", SPLIT_CALL_TAGS}, {"Reka-Edge", TAGS}, {"MiMo-VL", SPLIT_CALL_TAGS},
                {"Bielik-11B-v3.0-Instruct", TAGS},
                {"meta-llama-Llama-3.1-8B-Instruct", SPLIT_CALL_BARE}, {"meta-llama-Llama-3.2-3B-Instruct", SPLIT_CALL_BARE},
                {"meta-llama-Llama-3.3-70B-Instruct", SPLIT_CALL_BARE},
                {"mistralai-Mistral-Nemo-Instruct-2407", SPLIT_CALL_BRACKETS}, {"Mistral-Small-3.2-24B-Instruct-2506", SPLIT_CALL_BRACKETS},
                {"unsloth-mistral-Devstral-Small-2507", SPLIT_CALL_BRACKETS},
                {"mistralai-Ministral-3-14B-Reasoning-2512", SPLIT_CALL_BRACKETS | SPLIT_THINK_BRACKETS},
                {"ibm-granite-granite-3.3-2B-Instruct", SPLIT_THINK_TAGS | SPLIT_CALL_LIST}, {"unsloth-Apriel-1.5", SPLIT_CALL_LIST_TAGS},
                {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", SPLIT_THINK_TAGS},
                /* calls that are written otherwise */
                {"Qwen3-Coder", SPLIT_CALL_UNKNOWN}, {"Qwen3.5-4B", SPLIT_THINK_TAGS | SPLIT_CALL_UNKNOWN},
                {"GLM-4.6", SPLIT_THINK_TAGS | SPLIT_CALL_UNKNOWN}, {"meetkai-functionary-medium-v3.1", SPLIT_CALL_UNKNOWN},
                {"ByteDance-Seed-OSS", SPLIT_CALL_UNKNOWN}, {"openai-gpt-oss-120b", CHANNELS},
                {"moonshotai-Kimi-K2", SPLIT_CALL_UNKNOWN}, {"deepseek-ai-DeepSeek-V3.1", SPLIT_THINK_TAGS},
                /* no tools */
                {"google-gemma-2-2b-it", 0}, {"microsoft-Phi-3.5-mini-instruct", 0},
        };
        for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
                char path[256], *text = NULL;
                size_t size = 0;
                snprintf(path, sizeof(path), "chat_templates/templates/%s.jinja", known[i].name);
                skip_without(path);
                FILE *f = fopen(test_data(path), "re");
                assert_non_null(f);
                ssize_t n = getdelim(&text, &size, 0, f);
                assert_true(n > 0);
                fclose(f);
                if (split_forms(text, (size_t)n) != known[i].forms)
                        fail_msg("%s: forms %u, not %u", known[i].name, split_forms(text, (size_t)n), known[i].forms);
                free(text);
        }
}

static void test_prompts(void **state) {
        (void)state;
        static const char open[] = "<|im_start|>assistant\n<think>\n", shut[] = "<|im_start|>assistant\n<think>\n\n</think>\n\n";
        assert_true(split_is_thinking(TAGS, open, strlen(open)));
        assert_false(split_is_thinking(TAGS, shut, strlen(shut)));
        assert_false(split_is_thinking(SPLIT_CALL_TAGS, open, strlen(open)));
        assert_false(split_is_thinking(SPLIT_THINK_BRACKETS, open, strlen(open)));
        assert_true(split_is_thinking(SPLIT_THINK_TAGS, "<think>", 7));
        assert_false(split_is_thinking(SPLIT_THINK_TAGS, "think>", 6));
        assert_false(split_is_thinking(SPLIT_THINK_TAGS, "", 0));
}

static void test_begun_calls(void **state) {
        (void)state;
        static const struct {
                unsigned forms;
                const char *prompt, *becomes;
        } cases[] = {
                {TAGS, "assistant\n", "assistant\n<tool_call>\n"},
                {TAGS, "<think>\n", "<think>\n</think>\n\n<tool_call>\n"},
                {SPLIT_CALL_BRACKETS, "", "[TOOL_CALLS]"},
                {SPLIT_CALL_BARE, "x\n\n", "x\n\n"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_buf_ Buf b = BUF_NULL;
                buf_puts(&b, cases[i].prompt);
                split_begin_call(cases[i].forms, &b);
                assert_string_equal(b.data, cases[i].becomes);
        }
}

static void test_marks(void **state) {
        (void)state;
        static const char *const marks[] = {"<think>", "</think>", "<tool_call>", "</tool_call>"};
        for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
                assert_true(split_is_mark(TAGS, marks[i], strlen(marks[i])));
                assert_false(split_is_mark(SPLIT_CALL_BARE | SPLIT_THINK_BRACKETS, marks[i], strlen(marks[i])));
        }
        assert_true(split_is_mark(SPLIT_CALL_BRACKETS, "[ARGS]", 6));
        assert_true(split_is_mark(SPLIT_CALL_BARE, "<|python_tag|>", 14));
        assert_false(split_is_mark(SPLIT_CALL_BARE, "<|eom_id|>", 10));
        assert_false(split_is_mark(SPLIT_CALL_BARE, "", 0)); /* which is how a call of it ends */
        assert_false(split_is_mark(0, "<think>", 7));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_samples), cmocka_unit_test(test_taken_between), cmocka_unit_test(test_most),
                cmocka_unit_test(test_hostile), cmocka_unit_test(test_no_header), cmocka_unit_test(test_forms),         cmocka_unit_test(test_prompts),
                cmocka_unit_test(test_marks),   cmocka_unit_test(test_begun_calls),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
