/* What inputs of a ranking become when they are prepared: the query's tokens, made once, with those of each document. */
#include "unit.h"
#include "text/tokenizer.h"

static unsigned n_queries;

static int count_encode(const Tokenizer *t, const char *text, size_t len, unsigned flags, int32_t **ret, size_t *ret_n) {
        n_queries++;
        return tokenizer_encode(t, text, len, flags, ret, ret_n);
}

#define tokenizer_encode count_encode
#include "engine/inputs.c"
#undef tokenizer_encode

enum { UNK, CLS, SEP, BA, DA, N_TOKENS, DOCUMENTS = 3 * SLICE_INPUTS / 2 };

static Tokenizer *make_tokenizer(void) {
        static const TokenText tokens[N_TOKENS] = {{"[UNK]", 5}, {"[CLS]", 5}, {"[SEP]", 5}, {"ba", 2}, {"da", 2}};
        static const int32_t types[N_TOKENS] = {TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_CONTROL, TOKEN_NORMAL, TOKEN_NORMAL};
        const TokenizerSpec spec = {
                .kind = TOKENIZER_WORDPIECE, .n_tokens = N_TOKENS, .tokens = tokens, .types = types, .bos = CLS, .eos = SEP,
                .eot = -1, .unk = UNK, .single = template_bos_eos(CLS, SEP, 1), .pair = template_pair_bert(CLS, SEP),
                .words = WORDS_BERT, .subword = {"##", 2}, .max_word = 100,
        };
        Tokenizer *t;
        Error e = ERROR_NULL;
        if (tokenizer_new(&spec, &t, &e) < 0)
                fail_msg("%s", e.text);
        return t;
}

/* "ba" and "da" in turn, for the query that is in all of them. */
static void check_ranking(const char *query, bool truncate, const int32_t *before, size_t n_before) {
        _cleanup_(tokenizer_freep) Tokenizer *t = make_tokenizer();
        _cleanup_buf_ Buf lens = BUF_NULL, bytes = BUF_NULL;
        const EncoderInfo info = {.n_out = 1, .scores = true};
        const PrepModel m = {.name = "m", .tokenizer = t, .encoder = &info, .n_vocab = N_TOKENS, .context = 8};
        Inputs in;
        Error e = ERROR_NULL;
        int32_t ids[8];
        for (int i = 0; i < DOCUMENTS; i++)
                ipc_strs_put(&lens, &bytes, i % 2 ? "da" : "ba", 2);
        const IpcJob job = {.kind = IPC_PROMPT_RANK, .prompt = ipc_str(query), .inputs = ipc_strs(&lens, &bytes), .truncate = truncate};
        n_queries = 0;
        inputs_init(&in, &job);
        while (in.n_ready < in.n) {
                Slice *s;
                if (inputs_prepare(&m, &job, &in.cursor, &s, &e))
                        fail_msg("%s", e.text);
                inputs_put(&in, s);
        }
        assert_int_equal(n_queries, 1);
        for (int i = 0; i < DOCUMENTS; i++) {
                assert_int_equal(inputs_next(&in), n_before + 2);
                inputs_take(&in, ids, NULL);
                assert_memory_equal(ids, before, n_before * sizeof(*ids));
                assert_true(ids[n_before] == (i % 2 ? DA : BA) && ids[n_before + 1] == SEP);
        }
        inputs_deinit(&in);
}

static void test_query(void **state) {
        (void)state;
        check_ranking("ba da", false, (int32_t[]){CLS, BA, DA, SEP}, 4);
        check_ranking("", false, (int32_t[]){CLS, SEP}, 2);
}

/* Cut to fit with the document; and before that where most of it is beyond all that could fit. */
static void test_long_query(void **state) {
        (void)state;
        char query[8 * TOKEN_BYTES + 3 * 8 + 1];
        for (size_t i = 0; i + 3 < sizeof(query); i += 3)
                memcpy(query + i, i % 2 ? "da " : "ba ", 4);
        check_ranking(query, true, (int32_t[]){CLS, BA, DA, BA, DA, SEP}, 6);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_query), cmocka_unit_test(test_long_query)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
