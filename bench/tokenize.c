/* Text to token ids, on one thread: how many bytes of text per second of processor time, or with --ids the ids
 * themselves, to be compared with somebody else's (bench/tokens.py does both).
 *
 *   bench/tokenize [--ids] [--seconds=1] DIRECTORY < TEXTS
 *
 * DIRECTORY is a Hugging Face model's; TEXTS has one text a line, as a JSON string. */
#include <jansson.h>
#include <string.h>

#include "bench.h"
#include "engine/vocab-hf.h"

enum { FLAGS = TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL };

static json_t *read_texts(FILE *in) {
        json_t *texts = json_array();
        char *line = NULL;
        size_t cap = 0;
        ssize_t n;
        while ((n = getline(&line, &cap, in)) > 0)
                if (json_array_append_new(texts, json_loadb(line, (size_t)n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL)) <
                    0)
                        fprintf(stderr, "line %zu is no JSON\n", json_array_size(texts) + 1);
        free(line);
        return texts;
}

/* Encodes all of them; with `out`, prints their ids. Returns the number of ids. */
static size_t encode_all(const Tokenizer *t, const json_t *texts, FILE *out, size_t *ret_bytes) {
        size_t i, total = 0;
        json_t *text;
        *ret_bytes = 0;
        json_array_foreach(texts, i, text) {
                int32_t *ids = NULL;
                size_t n = 0, len = json_string_length(text);
                if (tokenizer_encode(t, json_string_value(text), len, FLAGS, &ids, &n) < 0)
                        fprintf(stderr, "text %zu cannot be encoded\n", i);
                for (size_t k = 0; out && k < n; k++)
                        fprintf(out, k ? " %d" : "%d", ids[k]);
                if (out)
                        fputc('\n', out);
                free(ids);
                total += n;
                *ret_bytes += len;
        }
        return total;
}

static void measure(const Tokenizer *t, const json_t *texts, double seconds) {
        size_t bytes, n = encode_all(t, texts, NULL, &bytes), rounds = 0;
        double start = seconds_of(CLOCK_THREAD_CPUTIME_ID), used = 0;
        for (; used < seconds; used = seconds_of(CLOCK_THREAD_CPUTIME_ID) - start, rounds++)
                encode_all(t, texts, NULL, &bytes);
        printf("{\"texts\": %zu, \"bytes\": %zu, \"ids\": %zu, \"mb_per_second\": %.2f}\n", json_array_size(texts),
               bytes, n, (double)bytes * (double)rounds / used / 1e6);
}

int main(int argc, char **argv) {
        _cleanup_(hf_freep) HfModel *h = NULL;
        _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
        Error e = ERROR_NULL;
        bool ids = false;
        double seconds = 1;
        int i = 1;
        for (; i < argc && argv[i][0] == '-'; i++)
                if (strcmp(argv[i], "--ids") == 0)
                        ids = true;
                else if (strncmp(argv[i], "--seconds=", 10) == 0)
                        seconds = strtod(argv[i] + 10, NULL);
        if (i + 1 != argc) {
                fprintf(stderr, "usage: %s [--ids] [--seconds=1] DIRECTORY < TEXTS\n", argv[0]);
                return 2;
        }
        if (hf_open(argv[i], &h, &e) < 0 || vocab_hf_tokenizer_new(h, &t, &e) < 0) {
                fprintf(stderr, "%s\n", e.text);
                return 1;
        }
        json_auto_t *texts = read_texts(stdin);
        size_t bytes;
        if (ids)
                encode_all(t, texts, stdout, &bytes);
        else
                measure(t, texts, seconds);
        return 0;
}
