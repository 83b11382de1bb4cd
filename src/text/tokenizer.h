/* Text to token ids and back.
 *
 * A Tokenizer is immutable and may be used by many threads at once. It is made from a TokenizerSpec, which whoever
 * reads the model file fills; nothing here knows file formats. Kinds:
 *   TOKENIZER_SPM  SentencePiece-style BPE ("llama" in GGUF): greedy merges over characters, byte fallback <0xXX>,
 *                  spaces as U+2581. What merges first is told by the scores of the tokens, or by ranked merges
 *   TOKENIZER_BPE  byte-level BPE by ranked merges ("gpt2" in GGUF), after a pre-tokenizer regex chosen by name:
 *                  gpt-2, llama-bpe, qwen2, smollm (and their aliases)
 *   TOKENIZER_WORDPIECE  BERT's: a word is the longest token that it starts with, then the longest one marked as a
 *                  continuation, and so on; or else unknown as a whole
 *   TOKENIZER_UNIGRAM    SentencePiece's other kind (XLM-R, T5): of all ways to cut a text into tokens the most probable
 * Before all of them text may be normalised (normalizer.h).
 * Special tokens are found in the text before anything else. Control tokens only where PARSE_SPECIAL is given: template
 * output needs that, a user's own text must not be able to inject them. User-defined tokens always: they are ordinary
 * text that is never split; one that ends turns by its name counts as a control token. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/normalizer.h"
#include "util/buf.h"
#include "util/error.h"

typedef struct Tokenizer Tokenizer;

typedef enum TokenizerKind { TOKENIZER_SPM, TOKENIZER_BPE, TOKENIZER_WORDPIECE, TOKENIZER_UNIGRAM } TokenizerKind;

typedef enum TokenType { /* GGUF's tokenizer.ggml.token_type */
        TOKEN_NORMAL = 1,
        TOKEN_UNKNOWN = 2,
        TOKEN_CONTROL = 3,
        TOKEN_USER_DEFINED = 4,
        TOKEN_UNUSED = 5,
        TOKEN_BYTE = 6,
} TokenType;

/* Where text gets the space that words start with. */
typedef enum SpacePrefix {
        SPACE_PREFIX_NONE,
        SPACE_PREFIX_AFTER_CONTROL,  /* at the start and after control tokens: GGUF */
        SPACE_PREFIX_ALWAYS,         /* at the start and after every special token: tokenizer.json's Prepend */
        SPACE_PREFIX_ALWAYS_MISSING, /* there, unless it begins with one: its Metaspace, "always" */
        SPACE_PREFIX_FIRST_MISSING,  /* at the start only, unless it begins with one: Metaspace, "first" */
} SpacePrefix;

/* The words that WordPiece and Unigram cut text into. */
typedef enum WordCut {
        WORDS_NONE,   /* all of it is one word */
        WORDS_SPACED, /* a word begins at every space: Metaspace */
        WORDS_WHITE,  /* between white space, which is dropped; Unigram: … and each gets the space in front */
        WORDS_BERT,   /* … and punctuation characters are words of their own: BertPreTokenizer */
        WORDS_REGEX,  /* \w+|[^\w\s]+: Whitespace */
} WordCut;

enum { /* what a tokenizer.json says of its added tokens */
        ADDED_LSTRIP = 1,      /* takes the white space before it */
        ADDED_RSTRIP = 2,      /* … and after it */
        ADDED_SINGLE_WORD = 4, /* is not found inside a word */
        ADDED_NORMALIZED = 8,  /* is looked for in normalised text; of SPM that is: with spaces for its U+2581 */
        ADDED_ONLY = 16,       /* the model proper does not have it */
};

typedef struct TokenText {
        const char *data;
        size_t len;
} TokenText;

/* What stands around texts: its parts in order, each a token or the place of a text. `type` is its token_type_id, by
 * which BERT tells the texts of a pair apart. */
enum { TEMPLATE_MAX = 16, TEMPLATE_FIRST = -1, TEMPLATE_SECOND = -2 };

typedef struct TemplatePart {
        int32_t id; /* of a token, or TEMPLATE_FIRST, TEMPLATE_SECOND */
        uint8_t type;
} TemplatePart;

typedef struct Template {
        TemplatePart parts[TEMPLATE_MAX];
        size_t n;
} Template;

/* What marks the texts of a prompt whose middle is to be filled in (fill.h); -1: none. */
typedef struct FillTokens {
        int32_t prefix, suffix, middle;
} FillTokens;

typedef struct TokenizerSpec { /* all memory is the caller's and is copied where it is kept */
        TokenizerKind kind;
        const char *pre; /* BPE: name of the pre-tokenizer; unknown names are refused */
        size_t n_tokens;
        const TokenText *tokens; /* [n_tokens] */
        const float *scores;     /* [n_tokens], SPM; NULL: it has merges */
        const int32_t *types;    /* [n_tokens] TokenType, or NULL: all normal */
        size_t n_merges;
        const TokenText *merges; /* "left right" in order of rank */
        int32_t bos, eos, eot, unk; /* -1: none */
        const int32_t *ends;        /* [n_ends] that end generation, besides those */
        size_t n_ends;
        Template single; /* what stands around a text; n 0: nothing */
        Template pair;   /* … around two; n 0: pairs are not supported */
        SpacePrefix space_prefix; /* SPM */
        bool ignore_merges;       /* BPE: a word that is a token is taken whole, even where merges would not lead to it */
        const NormalizerStep *normalizer; /* [n_normalizer] */
        size_t n_normalizer;
        const uint8_t *added; /* [n_tokens] ADDED_…, or NULL */
        WordCut words;        /* WORDPIECE, UNIGRAM */
        TokenText subword;    /* WORDPIECE: what continuations are marked with: "##" */
        size_t max_word;      /* WORDPIECE: longer words, in characters, are unknown */
        const double *log_probs; /* [n_tokens], UNIGRAM */
        double unk_log_prob;     /* UNIGRAM: of a character that is no token */
        bool single_precision;   /* UNIGRAM: sums are rounded as SentencePiece's own, which decides ties */
        const FillTokens *fill;  /* those that the file names; NULL: it names none */
} TokenizerSpec;

/* [BOS] text [EOS], and the same again for a second text; -1 leaves one out. */
Template template_bos_eos(int32_t bos, int32_t eos, size_t n_texts);
/* What encoders have around a pair. BERT: [CLS] A [SEP], and B [SEP] of type 1. RoBERTa: <s> A </s> </s> B </s>, all of
 * type 0. */
Template template_pair_bert(int32_t cls, int32_t sep);
Template template_pair_roberta(int32_t bos, int32_t eos);

/* -EINVAL, naming the token or merge that is wrong; -EOPNOTSUPP for an unknown pre-tokenizer; -ENOMEM. */
int tokenizer_new(const TokenizerSpec *spec, Tokenizer **ret, Error *e);
void tokenizer_free(Tokenizer *t);
DEFINE_CLEANUP(Tokenizer, tokenizer_free)

enum {
        TOKENIZE_ADD_SPECIAL = 1,   /* the template's tokens (BOS/EOS where the model wants them) */
        TOKENIZE_PARSE_SPECIAL = 2, /* special tokens written out in the text become their ids */
        TOKENIZE_GOES_ON = 4,       /* the text goes on from another one: it gets no space in front */
};

/* Any bytes are accepted; what is not UTF-8 goes through byte tokens. *ret is malloc'd. -ENOMEM; -E2BIG for 2 GiB and
 * more; -EINVAL when the vocabulary has neither a token for some byte nor an unknown one. */
int tokenizer_encode(const Tokenizer *t, const char *text, size_t len, unsigned flags, int32_t **ret, size_t *ret_n);

/* One text, or a pair, with what the template puts around: "[CLS] a [SEP] b [SEP]". */
typedef struct Encoding {
        int32_t *ids;   /* [n] */
        uint8_t *types; /* [n] token_type_ids */
        size_t n;
        struct {
                size_t start, n; /* which of the ids are this text's own; absent texts have none */
        } texts[2];
} Encoding;

void encoding_deinit(Encoding *e);
/* `texts` are one or two. Errors as tokenizer_encode()'s; -EOPNOTSUPP for a pair where the tokenizer has no template
 * for it. Without TOKENIZE_ADD_SPECIAL a pair's ids follow one another, with types 0 and 1. */
int tokenizer_encode_texts(const Tokenizer *t, const TokenText *texts, size_t n_texts, unsigned flags, Encoding *ret);
/* The same, with special tokens added, for pairs that have their first text in common: its ids are given, as
 * tokenizer_encode() makes them without flags. */
int tokenizer_encode_pair(const Tokenizer *t, const int32_t *first, size_t n_first, TokenText second, Encoding *ret);
bool tokenizer_has_pairs(const Tokenizer *t);
/* Drops ids from the ends of the texts until at most `max` are left; the template's tokens stay. Of a pair the longer
 * text is shortened first ("longest_first" in Hugging Face's tokenizers, whose rounding this has). False, and
 * unchanged, when `max` has no room for the template. */
bool encoding_truncate(Encoding *e, size_t max);

TokenizerKind tokenizer_kind(const Tokenizer *t);
size_t tokenizer_n_tokens(const Tokenizer *t);
int32_t tokenizer_bos(const Tokenizer *t); /* -1: none */
int32_t tokenizer_eos(const Tokenizer *t);
FillTokens tokenizer_fill(const Tokenizer *t); /* both `prefix` and `suffix` are there, or all are -1 */
/* End of generation: eos, eot, and the usual names of end-of-turn tokens (<|im_end|>, <|eot_id|>, <end_of_turn>, …). */
bool tokenizer_is_eog(const Tokenizer *t, int32_t id);
/* The bytes that token `id` stands for in output (SPM: U+2581 as space; byte tokens as their byte; control tokens as
 * nothing unless `special`). Valid as long as the tokenizer. Out of range ids give an empty piece. */
TokenText tokenizer_piece(const Tokenizer *t, int32_t id, bool special);
/* Appends the text of `n` ids. SPM drops the one leading space that encoding added when `strip_space`. */
int tokenizer_decode(const Tokenizer *t, const int32_t *ids, size_t n, bool special, bool strip_space, Buf *out);

/* Streaming decode: bytes of tokens in, whole UTF-8 characters out; bytes that can never become valid come out as
 * U+FFFD, and a character that spans tokens waits. */
typedef struct Utf8Stream {
        char pending[4];
        uint8_t n;
} Utf8Stream;

/* Appends to `out` what is complete after `data`; with `last`, what is pending comes out as U+FFFD. */
void utf8_stream_put(Utf8Stream *u, const char *data, size_t len, bool last, Buf *out);
