/* tokenizer.model, SentencePiece's own file: a protocol buffer (sentencepiece_model.proto), of which this is read:
 *
 *   1 pieces, repeated { 1 piece: text, 2 score: float, 3 type: as TokenType, 1 where absent }
 *   2 trainer_spec { 3 model_type: 1 Unigram, 2 BPE; 24 treat_whitespace_as_suffix; 40 unk_id, 41 bos_id, 42 eos_id }
 *   3 normalizer_spec { 2 precompiled_charsmap; 3 add_dummy_prefix, 4 remove_extra_whitespaces,
 *                       5 escape_whitespaces: true where absent }
 *
 * A field is a key (number << 3 | wire type) and a value: 0 a varint, 1 eight bytes, 2 a length and as many bytes, 5
 * four bytes (protobuf.dev/programming-guides/encoding). Unknown fields are passed over.
 *
 * What stands around texts is not in the file: transformers' LlamaTokenizer puts BOS in front. */
#include <endian.h>
#include <errno.h>
#include <math.h>

#include "engine/vocab-hf-internal.h"
#include "util/str.h"

#define FILE_NAME "tokenizer.model"

enum { VARINT = 0, BYTES8 = 1, BYTES = 2, BYTES4 = 5 };
enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };
enum { PIECES = 1, TRAINER = 2, NORMALIZER = 3 };
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

typedef struct Sentencepiece {
        uint64_t model_type;
        bool suffix, dummy_prefix, remove_extra, escape;
        Message charsmap;
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
                        sp->charsmap = f.bytes;
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

static int reserve_pieces(Reader *v, Message m) {
        Field f;
        size_t n = 0;
        int k;
        while ((k = next_field(&m, &f)) > 0)
                n += f.number == KEY(PIECES, BYTES);
        if (k < 0 || n == 0)
                return refuse_broken(v);
        v->scores = calloc(n, sizeof(*v->scores));
        k = reader_reserve(v, n);
        return k < 0 || v->scores ? k : REFUSE(v, -ENOMEM, "not enough memory for its vocabulary");
}

/* What SentencePiece's normalizer does: its map, then no spaces at the ends and one at a time between. */
static void set_steps(Reader *v, const Sentencepiece *sp) {
        NormalizerStep *steps = v->steps;
        size_t n = 0;
        if (sp->charsmap.p < sp->charsmap.end)
                steps[n++] = (NormalizerStep){
                        .kind = NORMALIZE_CHARSMAP_LONGEST,
                        .from = {(const char *)sp->charsmap.p, (size_t)(sp->charsmap.end - sp->charsmap.p)}};
        if (sp->remove_extra) {
                steps[n++] = (NormalizerStep){.kind = NORMALIZE_REPLACE_RUNS, .from = {" ", 1}, .to = {" ", 1}};
                steps[n++] =
                        (NormalizerStep){.kind = NORMALIZE_STRIP, .flags = STRIP_LEFT | STRIP_RIGHT | STRIP_SPACES};
        }
        v->spec.normalizer = steps;
        v->spec.n_normalizer = n;
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
        v->spec.scores = v->scores;
        v->spec.unk_log_prob = min - UNK_PENALTY;
        v->spec.single_precision = true;
        v->spec.words = WORDS_NONE;
        v->spec.space_prefix = sp->dummy_prefix ? SPACE_PREFIX_AFTER_CONTROL : SPACE_PREFIX_NONE;
        v->spec.single = template_bos_eos(v->spec.bos, -1, 1);
        v->spec.pair = template_bos_eos(v->spec.bos, -1, 2);
        set_steps(v, sp);
        return 0;
}

static int check_class(const Reader *v) {
        static const char *const classes[] = {"LlamaTokenizer", "LlamaTokenizerFast", "GemmaTokenizer",
                                              "GemmaTokenizerFast"};
        const json_t *class = json_member(hf_tokenizer_config(v->h), "tokenizer_class");
        char text[SHOWN_MAX];
        for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
                if (!class || json_is(class, classes[i]))
                        return 0;
        return REFUSE(v, -EOPNOTSUPP, "with the tokenizer_class '%s' is not supported; a tokenizer.json is",
                      json_shown(text, class));
}

int reader_sentencepiece(Reader *v) {
        int k = hf_open_file(v->h, FILE_NAME, &v->model_file, v->e);
        if (k < 0)
                return k;
        Sentencepiece sp = {.model_type = MODEL_UNIGRAM, .dummy_prefix = true, .remove_extra = true, .escape = true};
        Message m = {v->model_file.data, v->model_file.data + v->model_file.size};
        v->file = FILE_NAME;
        v->spec.unk = 0;
        v->spec.bos = 1;
        v->spec.eos = 2;
        if ((k = check_class(v)) < 0 || (k = reserve_pieces(v, m)) < 0 || (k = read_fields(v, m, &sp)) < 0)
                return k;
        return set_spec(v, &sp);
}
