/* What the files behind tokenizer.h share: the vocabulary, the working memory of one encode call, and the functions in
 * which the two kinds differ. */
#pragma once

#include <stdatomic.h>

#include "text/merge.h"
#include "text/pretokenizer.h"
#include "text/special.h"
#include "text/tokenizer.h"
#include "text/trie.h"
#include "util/map.h"

/* What is known about a token as a word of its own. It is found out when the word is first met; whoever finds it out
 * finds the same, so a relaxed atomic is all that threads need. */
enum { WHOLE_UNKNOWN, WHOLE_YES, WHOLE_NO };

typedef struct MergeTable { /* pairs of ids → what they merge into; open addressing, at most half full */
        struct MergeSlot *slots;
        size_t mask;
        uint64_t seed;
} MergeTable;

struct Tokenizer {
        TokenizerKind kind;
        size_t n;
        Buf texts;               /* the pieces, one after the other */
        uint32_t *starts;        /* [n + 1]: piece i is texts[starts[i] … starts[i + 1]) */
        uint8_t *types;          /* [n] TokenType */
        bool *eog;               /* [n] */
        _Atomic(uint8_t) *whole; /* [n] WHOLE_… */
        Map ids;                 /* piece → id, of the tokens that ordinary text may become */
        int32_t bytes[256];      /* id of the token for a single byte, or -1 */
        int32_t bos, eos, unk;
        FillTokens fill;
        Template single, pair;
        Specials specials;
        Normalizer *normalizer; /* or NULL */
        Specials normalized;    /* those that are looked for behind it */
        /* SPM */
        SpacePrefix space_prefix;
        uint32_t *ranks;        /* [n]: place of the token's score, best first; equal scores share a place; or NULL */
        bool space_starts_word; /* no token has a space after something else, so no merge crosses into one */
        /* BPE, and SPM without scores */
        MergeTable merges;
        /* BPE */
        Pretokenizer *pretokenizer;
        bool ignore_merges;
        /* WordPiece and Unigram */
        WordCut words;
        Trie trie; /* text → id, of the tokens that ordinary text may become */
        /* WordPiece */
        uint32_t subword_root; /* the trie's node where continuations begin; UINT32_MAX: there are none */
        size_t max_word;
        uint8_t classes[128]; /* WORDPIECE: of ASCII characters; see wordpiece.c */
        /* Unigram */
        double *log_probs; /* [n] */
        double unk_log_prob;
        bool single_precision;
};

/* The best way to cut a word up to one of its bytes. */
typedef struct UnigramStep {
        double log_prob;
        uint32_t from; /* where the last token of it begins; UINT32_MAX: there is no way */
        int32_t id;    /* of that token; -1: it is an unknown character */
} UnigramStep;

typedef struct EncodeScratch {
        MergeScratch merge;
        PretokenizerScratch *pretokenizer;
        NormalizerScratch normalizer;
        Buf valid; /* the text with what is no UTF-8 replaced */
        Buf text;  /* SPM, UNIGRAM: the text with its spaces as the vocabulary has them */
        UnigramStep *steps; /* UNIGRAM [cap_steps] */
        size_t cap_steps;
        bool parse;  /* control tokens written out in the text count */
        bool prefix; /* the text at work gets the space that words start with */
        bool goes_on; /* a text does not at its start */
        int32_t *ids;
        size_t n_ids, cap_ids;
        size_t after_unk; /* n_ids right after an unknown token of this text; SPM writes one for a run of unknowns */
        const int32_t *first; /* [n_first] ids of the first text; NULL: it is to be encoded */
        size_t n_first;
} EncodeScratch;

/* The piece of token `id`, whatever its type. */
TokenText token_text(const Tokenizer *t, size_t id);
/* Can ordinary text become this token by merging? */
bool token_is_mergeable(const Tokenizer *t, size_t id);
/* Room for `n` more ids; -ENOMEM. Encoding a word of that many bytes needs no more. */
int reserve_ids(EncodeScratch *s, size_t n);
/* Encodes one word, across whose ends nothing merges. */
int encode_word(const Tokenizer *t, EncodeScratch *s, const char *word, size_t len);

/* Appends an id that there is room for. */
static inline void put_id(EncodeScratch *s, int32_t id) {
        s->ids[s->n_ids++] = id;
}

/* A token's text as the file has it → the bytes it stands for, appended to `out`. */
void spm_put_piece(TokenText text, Buf *out);
void bpe_put_piece(TokenText text, Buf *out);
void wordpiece_put_piece(const TokenizerSpec *spec, TokenText text, Buf *out);
int spm_init(Tokenizer *t, const TokenizerSpec *spec, Error *e);
int bpe_init(Tokenizer *t, const TokenizerSpec *spec, Error *e);
void bpe_deinit(Tokenizer *t);
int merges_load(Tokenizer *t, const TokenizerSpec *spec, Error *e);
int wordpiece_init(Tokenizer *t, const TokenizerSpec *spec, Error *e);
int unigram_init(Tokenizer *t, const TokenizerSpec *spec, Error *e);
/* Makes the trie of those of the `texts` [n] that ordinary text may become. -ENOMEM. */
int tokens_trie_init(Tokenizer *t, const TokenizerSpec *spec, const TokenText *texts, Error *e);
/* Encode text without special tokens; it is valid UTF-8 for WordPiece and Unigram. `s->prefix` counts for the kinds
 * with spaces in their tokens. */
int spm_encode(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len);
int bpe_encode(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len);
int wordpiece_encode(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len);
int unigram_encode(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len);
/* Appends text, of which there is some, to s->text with every U+2581 as a space, and the space in front that it
 * gets. */
void spm_put_text(const Tokenizer *t, EncodeScratch *s, const char *text, size_t len);
/* Sets up a word's symbols. */
void spm_split(const Tokenizer *t, MergeScratch *m, const char *word, uint32_t len);
void bpe_split(const Tokenizer *t, MergeScratch *m, const char *word, uint32_t len);
/* Do two neighbours merge? By scores it is their text that counts, by merges their ids. */
bool spm_merge(const Tokenizer *t, const char *text, uint32_t len, Merge *ret);
bool bpe_merge(const Tokenizer *t, int32_t left, int32_t right, Merge *ret);
