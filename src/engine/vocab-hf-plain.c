/* Directories from before tokenizer.json: what their files say, in a tokenizer.json's form.
 *
 *   vocab.txt                    WordPiece: a token a line, whose number is its id (BertTokenizer)
 *   vocab.json and merges.txt    byte-level BPE (GPT2Tokenizer, RobertaTokenizer, Qwen2Tokenizer)
 *
 * The rest of the pipeline is not in any file but in transformers' classes of those names: the one that
 * tokenizer_config.json names, or that belongs to config.json's model_type, has to be one of them. Where there is
 * neither, the files are taken for what their format was made for, BERT and GPT-2. */
#include <errno.h>

#include "engine/vocab-hf-internal.h"
#include "util/str.h"

static const json_t *config_of(const Reader *v) {
        return hf_tokenizer_config(v->h);
}

TokenText reader_class(const Reader *v) {
        static const char *const models[][2] = {
                {"bert", "BertTokenizer"},   {"gpt2", "GPT2Tokenizer"},       {"qwen2", "Qwen2Tokenizer"},
                {"qwen3", "Qwen2Tokenizer"}, {"qwen3_moe", "Qwen2Tokenizer"}, {"roberta", "RobertaTokenizer"}, {"t5", "T5Tokenizer"},
                {"xlm-roberta", "XLMRobertaTokenizer"},
        };
        const json_t *class = json_member(config_of(v), "tokenizer_class");
        const char *name = json_string_value(class);
        for (size_t i = 0; !class && i < ARRAY_SIZE(models); i++)
                if (json_has(hf_config(v->h), "model_type", models[i][0]))
                        name = models[i][1];
        size_t len = name ? strlen(name) : 0;
        return (TokenText){name, len > 4 && strcmp(name + len - 4, "Fast") == 0 ? len - 4 : len};
}

bool reader_has_class(const Reader *v, const char *name) {
        TokenText class = reader_class(v);
        return bytes_are(class.data, class.len, name);
}

/* Nothing says of what kind the model is. */
static bool is_unnamed(const Reader *v) {
        return !json_member(config_of(v), "tokenizer_class") && !json_member(hf_config(v->h), "model_type");
}

int reader_refuse_class(const Reader *v, const char *file) {
        const json_t *class = json_member(config_of(v), "tokenizer_class");
        char text[SHOWN_MAX];
        return HF_REFUSE(v->h, v->e, -EOPNOTSUPP,
                         "%s, of a %s '%s' and without a tokenizer.json, is not supported; "
                         "AutoTokenizer.save_pretrained() of transformers makes one",
                         file, class ? "tokenizer_class" : "model_type",
                         json_shown(text, class ? class : json_member(hf_config(v->h), "model_type")));
}

/* The name that tokenizer_config.json gives a special token, or the class's own. */
static const char *special_name(const Reader *v, const char *key, const char *standard) {
        const json_t *name = json_member(config_of(v), key);
        if (json_is_object(name))
                name = json_member(name, "content");
        return json_is_string(name) ? json_string_value(name) : standard;
}

/* Adds a special token, if the vocabulary has it. */
static void add_special(json_t *list, const json_t *vocab, const char *text, bool lstrip) {
        json_t *id = json_object_get(vocab, text);
        if (id)
                json_array_append_new(list, json_pack("{s:O, s:s, s:b, s:b, s:b}", "id", id, "content", text, "special",
                                                      1, "lstrip", lstrip, "normalized", 0));
}

/* tokenizer_config.json's own list, {"id": {token}, …}, which newer directories have. */
static void add_listed(const Reader *v, json_t *list) {
        const char *number;
        json_t *t;
        json_object_foreach((json_t *)json_member(config_of(v), "added_tokens_decoder"), number, t) {
                char *end;
                long long id = strtoll(number, &end, 10);
                json_t *copy = *number && !*end ? json_copy(t) : NULL;
                if (!json_is_object(copy))
                        json_decref(copy);
                else if (json_object_set_new(copy, "id", json_integer(id)) == 0)
                        json_array_append_new(list, copy);
        }
}

/* A file of lines: calls `line` for each. */
static int read_lines(Reader *v, const char *name, json_t *out,
                      int (*line)(Reader *v, json_t *out, size_t number, const char *text, size_t len)) {
        _cleanup_(model_file_close) ModelFile f = {0};
        int k = hf_open_file(v->h, name, &f, v->e);
        const char *p = (const char *)f.data, *end = p + f.size;
        if (k == 0)
                v->file = name;
        for (size_t number = 0; k == 0 && p < end; number++) {
                const char *stop = memchr(p, '\n', (size_t)(end - p));
                size_t len = (size_t)((stop ? stop : end) - p), bare = len > 0 && p[len - 1] == '\r' ? len - 1 : len;
                k = line(v, out, number, p, bare);
                p += len + (stop ? 1 : 0);
        }
        return k;
}

/* ---- vocab.txt ---- */

static int add_token(Reader *v, json_t *vocab, size_t number, const char *text, size_t len) {
        if (len == 0 || memchr(text, 0, len))
                return REFUSE(v, -EINVAL, "line %zu is empty or has a zero byte", number + 1);
        if (json_object_getn(vocab, text, len))
                return REFUSE(v, -EINVAL, "line %zu has a token that an earlier line has", number + 1);
        if (json_object_setn_new(vocab, text, len, json_integer((json_int_t)number)) < 0)
                return REFUSE(v, -EINVAL, "line %zu is not UTF-8", number + 1);
        return 0;
}

static json_t *bert_parts(const Reader *v, json_t *vocab) {
        const json_t *config = config_of(v), *cls, *sep;
        const char *names[] = {special_name(v, "pad_token", "[PAD]"), special_name(v, "unk_token", "[UNK]"),
                               special_name(v, "cls_token", "[CLS]"), special_name(v, "sep_token", "[SEP]"),
                               special_name(v, "mask_token", "[MASK]")};
        bool lowercase = json_flag(config, "do_lower_case", true);
        cls = json_object_get(vocab, names[2]);
        sep = json_object_get(vocab, names[3]);
        json_t *added = json_array();
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                add_special(added, vocab, names[i], false);
        return json_pack("{s:o, s:{s:s, s:O, s:s}, s:{s:s, s:b, s:b, s:b}, s:{s:s}, s:{s:s, s:[s,O], s:[s,O]}}",
                         "added_tokens", added, "model", "type", "WordPiece", "vocab", vocab, "unk_token", names[1],
                         "normalizer", "type", "BertNormalizer", "lowercase", lowercase, "handle_chinese_chars",
                         json_flag(config, "tokenize_chinese_chars", true), "strip_accents",
                         json_flag(config, "strip_accents", lowercase), "pre_tokenizer", "type", "BertPreTokenizer",
                         "post_processor", "type", "BertProcessing", "cls", names[2], cls, "sep", names[3], sep);
}

static int read_vocab_txt(Reader *v) {
        json_auto_t *vocab = json_object();
        int k = read_lines(v, "vocab.txt", vocab, add_token);
        if (k < 0)
                return k;
        if (reader_class(v).len > 0 && !reader_has_class(v, "BertTokenizer") && !reader_has_class(v, "DistilBertTokenizer"))
                return reader_refuse_class(v, "vocab.txt");
        v->root = bert_parts(v, vocab);
        return v->root ? 0
                       : REFUSE(v, -EINVAL, "has no token that starts texts ([CLS]), or none that ends them ([SEP])");
}

/* ---- vocab.json and merges.txt ---- */

static int add_merge(Reader *v, json_t *merges, size_t number, const char *text, size_t len) {
        if (len == 0 || (number == 0 && len >= 8 && memcmp(text, "#version", 8) == 0))
                return 0;
        if (json_array_append_new(merges, json_stringn(text, len)) < 0)
                return REFUSE(v, -EINVAL, "line %zu is not UTF-8", number + 1);
        return 0;
}

/* Qwen's tokenizer normalises, and cuts by a regex of its own; GPT-2's and RoBERTa's do as ByteLevel does. */
static int set_words(json_t *root, bool qwen) {
        static const char *const regex = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
                                         "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
        json_t *bytes = json_pack("{s:s, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", !qwen);
        if (!qwen)
                return json_object_set_new(root, "pre_tokenizer", bytes);
        json_t *words = json_pack("{s:s, s:[{s:s, s:{s:s}, s:s}, o]}", "type", "Sequence", "pretokenizers", "type",
                                  "Split", "pattern", "Regex", regex, "behavior", "Isolated", bytes);
        return json_object_set_new(root, "normalizer", json_pack("{s:s}", "type", "NFC")) < 0
                       ? -1
                       : json_object_set_new(root, "pre_tokenizer", words);
}

static void add_roberta(const Reader *v, json_t *root, json_t *added, const json_t *vocab) {
        const char *cls = special_name(v, "cls_token", "<s>"), *sep = special_name(v, "sep_token", "</s>");
        add_special(added, vocab, cls, false);
        add_special(added, vocab, special_name(v, "pad_token", "<pad>"), false);
        add_special(added, vocab, sep, false);
        add_special(added, vocab, special_name(v, "unk_token", "<unk>"), false);
        add_special(added, vocab, special_name(v, "mask_token", "<mask>"), true);
        json_object_set_new(root, "post_processor",
                            json_pack("{s:s, s:[s,O?], s:[s,O?]}", "type", "RobertaProcessing", "cls", cls,
                                      json_object_get(vocab, cls), "sep", sep, json_object_get(vocab, sep)));
}

static int read_vocab_json(Reader *v) {
        json_auto_t *vocab = NULL, *merges = json_array();
        bool qwen = reader_has_class(v, "Qwen2Tokenizer"), roberta = reader_has_class(v, "RobertaTokenizer");
        int k = hf_read_json(v->h, "vocab.json", &vocab, v->e);
        if (k < 0)
                return k;
        if (!qwen && !roberta && !reader_has_class(v, "GPT2Tokenizer") && !is_unnamed(v))
                return reader_refuse_class(v, "vocab.json");
        if ((k = read_lines(v, "merges.txt", merges, add_merge)) < 0)
                return k == -ENOENT ? HF_REFUSE(v->h, v->e, -EINVAL, "has a vocab.json without a merges.txt") : k;
        json_t *added = json_array();
        v->root = json_pack("{s:{s:s, s:O, s:O}, s:o}", "model", "type", "BPE", "vocab", vocab, "merges", merges,
                            "added_tokens", added);
        if (!v->root || set_words(v->root, qwen) < 0)
                return REFUSE(v, -ENOMEM, "not enough memory for its vocabulary");
        add_listed(v, added);
        if (roberta && json_array_size(added) == 0)
                add_roberta(v, v->root, added, vocab);
        else if (roberta)
                add_roberta(v, v->root, NULL, vocab);
        else if (json_array_size(added) == 0)
                add_special(added, vocab, special_name(v, "eos_token", "<|endoftext|>"), false);
        v->file = "vocab.json";
        return 0;
}

int reader_plain(Reader *v) {
        int k = read_vocab_txt(v);
        return k == -ENOENT ? read_vocab_json(v) : k;
}
