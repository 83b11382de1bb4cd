/* SentencePiece's own file: a protocol buffer (sentencepiece_model.proto), of which this is read:
 *
 *   1 pieces, repeated { 1 piece: text, 2 score: float, 3 type: as TokenType, 1 where absent }
 *   2 trainer_spec { 3 model_type: 1 Unigram, 2 BPE; 24 treat_whitespace_as_suffix; 40 unk_id, 41 bos_id, 42 eos_id }
 *   3 normalizer_spec { 2 precompiled_charsmap; 3 add_dummy_prefix, 4 remove_extra_whitespaces,
 *                       5 escape_whitespaces: true where absent }
 *
 * A field is a key (number << 3 | wire type) and a value: 0 a varint, 1 eight bytes, 2 a length and as many bytes, 5
 * four bytes (protobuf.dev/programming-guides/encoding). Unknown fields are passed over.
 *
 * Which id a piece has, and what stands around texts, is not in the file but in the class of transformers' tokenizer that
 * it is for, which has a name of its own for it (layouts[] below). XLM-RoBERTa's ids come from fairseq, which it was
 * trained with: <s>, <pad>, </s> and <unk>, then the file's pieces behind its own <unk>, <s> and </s>, last <mask>. */
#include <endian.h>
#include <errno.h>
#include <math.h>

#include "engine/vocab-hf-internal.h"
#include "util/str.h"

enum { VARINT = 0, BYTES8 = 1, BYTES = 2, BYTES4 = 5 };
enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };
enum { PIECES = 1, TRAINER = 2, NORMALIZER = 3 };
enum { XLMR_BOS, XLMR_PAD, XLMR_EOS, XLMR_UNK, XLMR_NAMED }; /* ids; the next is the file's third piece */
#define UNK_PENALTY 10.0f /* unigram_model.cc */

typedef struct Message {
        const uint8_t *p, *end;
} Message;

typedef struct Field {
        uint64_t number; /* with the wire type, the whole key */
        uint64_t value;  /* VARINT */
        Message bytes;   /* the others */
} Field;

#define KEY(number, wire) ((number) << 3 | (wire))

static bool read_varint(Message *m, uint64_t *ret) {
        *ret = 0;
        for (unsigned shift = 0; m->p < m->end && shift < 64; shift += 7) {
                uint8_t byte = *m->p++;
                *ret |= (uint64_t)(byte & 0x7f) << shift;
                if (byte < 0x80)
                        return true;
        }
        return false;
}

/* 1, 0 at the end, -EINVAL. */
static int next_field(Message *m, Field *ret) {
        if (m->p == m->end)
                return 0;
        *ret = (Field){0};
        if (!read_varint(m, &ret->number))
                return -EINVAL;
        unsigned wire = ret->number & 7;
        uint64_t n = wire == BYTES8 ? 8 : 4;
        if (wire == VARINT)
                return read_varint(m, &ret->value) ? 1 : -EINVAL;
        if ((wire != BYTES8 && wire != BYTES && wire != BYTES4) || (wire == BYTES && !read_varint(m, &n)) ||
            n > (uint64_t)(m->end - m->p))
                return -EINVAL;
        ret->bytes = (Message){m->p, m->p + n};
        m->p += n;
        return 1;
}

static float as_float(Message bytes) {
        uint32_t bits;
        float f;
        memcpy(&bits, bytes.p, sizeof(bits));
        bits = le32toh(bits);
        memcpy(&f, &bits, sizeof(f));
        return f;
}

typedef struct Layout {
        const char *file;
        const char *classes[5];
        size_t n_more; /* tokens besides the file's pieces */
        int (*finish)(Reader *v);
} Layout;

typedef struct Sentencepiece {
        const Layout *layout;
        uint64_t model_type;
        bool suffix, dummy_prefix, remove_extra, escape;
        NormalizerText charsmap;
} Sentencepiece;

static int refuse_broken(const Reader *v) {
        return REFUSE(v, -EINVAL, "is no SentencePiece model, or cut short");
}

static int read_piece(Reader *v, size_t i, Message m) {
        Field f;
        int k;
        v->types[i] = TOKEN_NORMAL;
        while ((k = next_field(&m, &f)) > 0)
                if (f.number == KEY(1, BYTES))
                        v->tokens[i] = (TokenText){(const char *)f.bytes.p, (size_t)(f.bytes.end - f.bytes.p)};
                else if (f.number == KEY(2, BYTES4))
                        v->scores[i] = as_float(f.bytes);
                else if (f.number == KEY(3, VARINT))
                        v->types[i] = f.value > TOKEN_BYTE ? 0 : (int32_t)f.value;
        bool bad;
        TokenText t = v->tokens[i];
        if (k < 0)
                return refuse_broken(v);
        if (t.len == 0 || utf8_valid_prefix(t.data, t.len, &bad) != t.len)
                return REFUSE(v, -EINVAL, "piece %zu has no text, or one that is not UTF-8", i);
        if (map_set(&v->ids, t.data, t.len, (int32_t)i) < 0)
                return REFUSE(v, -ENOMEM, "not enough memory for its vocabulary");
        v->log_probs[i] = v->scores[i];
        return 0;
}

static int read_trainer(Reader *v, Message m, Sentencepiece *sp) {
        Field f;
        int k;
        while ((k = next_field(&m, &f)) > 0)
                if (f.number == KEY(3, VARINT))
                        sp->model_type = f.value;
                else if (f.number == KEY(24, VARINT))
                        sp->suffix = f.value;
                else if (f.number == KEY(40, VARINT))
                        v->spec.unk = (int32_t)f.value;
                else if (f.number == KEY(41, VARINT))
                        v->spec.bos = (int32_t)f.value;
                else if (f.number == KEY(42, VARINT))
                        v->spec.eos = (int32_t)f.value;
        return k < 0 ? refuse_broken(v) : 0;
}

static int read_normalizer(Reader *v, Message m, Sentencepiece *sp) {
        Field f;
        int k;
        while ((k = next_field(&m, &f)) > 0)
                if (f.number == KEY(2, BYTES))
                        sp->charsmap = (NormalizerText){(const char *)f.bytes.p, (size_t)(f.bytes.end - f.bytes.p)};
                else if (f.number == KEY(3, VARINT))
                        sp->dummy_prefix = f.value;
                else if (f.number == KEY(4, VARINT))
                        sp->remove_extra = f.value;
                else if (f.number == KEY(5, VARINT))
                        sp->escape = f.value;
        return k < 0 ? refuse_broken(v) : 0;
}

static int read_fields(Reader *v, Message m, Sentencepiece *sp) {
        Field f;
        int k;
        while ((k = next_field(&m, &f)) > 0) {
                if (f.number == KEY(PIECES, BYTES))
                        k = read_piece(v, v->spec.n_tokens++, f.bytes);
                else if (f.number == KEY(TRAINER, BYTES))
                        k = read_trainer(v, f.bytes, sp);
                else if (f.number == KEY(NORMALIZER, BYTES))
                        k = read_normalizer(v, f.bytes, sp);
                if (k < 0)
                        return k;
        }
        return k < 0 ? refuse_broken(v) : 0;
}

static int reserve_pieces(Reader *v, Message m, size_t n_more) {
        Field f;
        size_t n = 0;
        int k;
        while ((k = next_field(&m, &f)) > 0)
                n += f.number == KEY(PIECES, BYTES);
        if (k < 0 || n == 0)
                return refuse_broken(v);
        v->scores = calloc(n + n_more, sizeof(*v->scores));
        k = reader_reserve(v, n + n_more);
        return k < 0 || v->scores ? k : REFUSE(v, -ENOMEM, "not enough memory for its vocabulary");
}

static int set_spec(Reader *v, const Sentencepiece *sp) {
        float min = INFINITY;
        if (sp->model_type != MODEL_UNIGRAM && sp->model_type != MODEL_BPE)
                return REFUSE(v, -EOPNOTSUPP, "its model_type %llu is neither Unigram (1) nor BPE (2)",
                              (unsigned long long)sp->model_type);
        if (sp->suffix || !sp->escape)
                return REFUSE(v, -EOPNOTSUPP, "treat_whitespace_as_suffix, or no escape_whitespaces, is not supported");
        for (size_t i = 0; i < v->spec.n_tokens; i++)
                if (v->types[i] == TOKEN_NORMAL)
                        min = fminf(min, v->scores[i]);
        v->spec.kind = sp->model_type == MODEL_UNIGRAM ? TOKENIZER_UNIGRAM : TOKENIZER_SPM;
        for (size_t i = 0; i < v->spec.n_tokens; i++)
                if (v->spec.kind == TOKENIZER_SPM && v->types[i] == TOKEN_USER_DEFINED)
                        v->added[i] = ADDED_NORMALIZED;
        v->spec.scores = v->scores;
        v->spec.unk_log_prob = min - UNK_PENALTY;
        v->spec.single_precision = true;
        v->spec.words = WORDS_NONE;
        v->spec.space_prefix = sp->dummy_prefix ? SPACE_PREFIX_AFTER_CONTROL : SPACE_PREFIX_NONE;
        v->spec.normalizer = v->steps;
        v->spec.n_normalizer = normalizer_sentencepiece(sp->charsmap, sp->remove_extra, v->steps);
        return sp->layout->finish(v);
}

/* ---- classes ---- */

static int finish_llama(Reader *v) {
        v->spec.single = template_bos_eos(v->spec.bos, -1, 1);
        v->spec.pair = template_bos_eos(v->spec.bos, -1, 2);
        return 0;
}

static void put_named(Reader *v, size_t id, const char *name, unsigned added) {
        v->tokens[id] = (TokenText){name, strlen(name)};
        v->types[id] = TOKEN_CONTROL;
        v->added[id] = (uint8_t)added;
        v->scores[id] = 0;
        v->log_probs[id] = 0;
}

/* The pieces' texts stand for other ids now. */
static int index_pieces(Reader *v) {
        map_deinit(&v->ids);
        int k = map_init(&v->ids, v->spec.n_tokens);
        for (size_t i = 0; i < v->spec.n_tokens && k >= 0; i++)
                k = map_set(&v->ids, v->tokens[i].data, v->tokens[i].len, (int32_t)i);
        return k < 0 ? REFUSE(v, -ENOMEM, "not enough memory for its vocabulary") : 0;
}

static int finish_xlmr(Reader *v) {
        static const char *const named[] = {"<s>", "<pad>", "</s>", "<unk>"};
        size_t n = v->spec.n_tokens;
        if (v->spec.kind != TOKENIZER_UNIGRAM || n < 3 || v->types[0] != TOKEN_UNKNOWN || v->types[1] != TOKEN_CONTROL ||
            v->types[2] != TOKEN_CONTROL)
                return REFUSE(v, -EOPNOTSUPP, "is not like XLM-RoBERTa's, Unigram and beginning with <unk>, <s> and </s>");
        for (size_t i = n; i-- > 3;) {
                v->tokens[i + 1] = v->tokens[i];
                v->types[i + 1] = v->types[i];
                v->scores[i + 1] = v->scores[i];
                v->log_probs[i + 1] = v->log_probs[i];
        }
        for (size_t i = 0; i < XLMR_NAMED; i++)
                put_named(v, i, named[i], 0);
        put_named(v, n + 1, "<mask>", ADDED_LSTRIP);
        v->spec.n_tokens = n + 2;
        v->spec.bos = XLMR_BOS;
        v->spec.eos = XLMR_EOS;
        v->spec.unk = XLMR_UNK;
        v->spec.single = template_bos_eos(XLMR_BOS, XLMR_EOS, 1);
        v->spec.pair = template_pair_roberta(XLMR_BOS, XLMR_EOS);
        return index_pieces(v);
}

/* Without the <extra_id_N> that T5 fills gaps with, which are no text. */
static int finish_t5(Reader *v) {
        v->spec.single = template_bos_eos(-1, v->spec.eos, 1);
        v->spec.pair = (Template){{{TEMPLATE_FIRST, 0}, {v->spec.eos, 0}, {TEMPLATE_SECOND, 0}, {v->spec.eos, 0}}, 4};
        return 0;
}

/* A directory that names no class has the first of its file's. */
static const Layout layouts[] = {
        {"tokenizer.model", {"LlamaTokenizer", "GemmaTokenizer"}, 0, finish_llama},
        {"sentencepiece.bpe.model", {"XLMRobertaTokenizer"}, 2, finish_xlmr},
        {"spiece.model", {"T5Tokenizer"}, 0, finish_t5},
};

static int check_class(const Reader *v, const Layout *l) {
        bool named = json_member(hf_tokenizer_config(v->h), "tokenizer_class") || reader_class(v).len > 0;
        for (size_t i = 0; l->classes[i]; i++)
                if (!named || reader_has_class(v, l->classes[i]))
                        return 0;
        return reader_refuse_class(v, l->file);
}

static int open_file(Reader *v, const Layout **ret) {
        int k = -ENOENT;
        for (size_t i = 0; i < ARRAY_SIZE(layouts) && k == -ENOENT; i++) {
                *ret = &layouts[i];
                k = hf_open_file(v->h, layouts[i].file, &v->model_file, v->e);
        }
        return k;
}

int reader_sentencepiece(Reader *v) {
        Sentencepiece sp = {.model_type = MODEL_UNIGRAM, .dummy_prefix = true, .remove_extra = true, .escape = true};
        int k = open_file(v, &sp.layout);
        if (k < 0)
                return k;
        Message m = {v->model_file.data, v->model_file.data + v->model_file.size};
        v->file = sp.layout->file;
        v->spec.unk = 0;
        v->spec.bos = 1;
        v->spec.eos = 2;
        if ((k = check_class(v, sp.layout)) < 0 || (k = reserve_pieces(v, m, sp.layout->n_more)) < 0 ||
            (k = read_fields(v, m, &sp)) < 0)
                return k;
        return set_spec(v, &sp);
}
