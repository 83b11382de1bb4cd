/* A job as a runner sees it. Of one that generates text it is one sequence: the tokens of a prompt and what the model added, the text of that, and when it is over.
 *
 * The text goes through three stages: bytes of tokens -> whole UTF-8 -> text without what a stop string could begin
 * with. What passed all three is `ready` and goes out with the next piece. Tokens that another engine produced are
 * replayed through the same stages, with the bytes that were already delivered skipped, so that a sequence resumed
 * anywhere gives the same text as one that was never interrupted.
 *
 * finish leaves NONE once, in seq_set_prompt() (what was replayed was all), seq_accept() or seq_end(); nothing comes
 * after that. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "device/device.h"
#include "engine/fair.h"
#include "engine/lane.h"
#include "engine/lookup.h"
#include "ipc/ipc.h"
#include "text/tokenizer.h"
#include "util/buf.h"
#include "util/heap.h"

struct Constraint;

typedef struct Seq {
        const IpcJob *job; /* what was asked; outlives the sequence */
        const Tokenizer *tokenizer;
        struct Inputs *inputs; /* what it has instead of all that is below, up to the runner's (inputs.h); NULL: it generates */

        int32_t *ids; /* the prompt, then what was generated */
        uint32_t n_ids, n_prompt;
        uint32_t limit; /* n_ids at which it ends: by the context or by max_tokens */
        IpcFinish finish;
        IpcStr stop; /* the stop string that ended it */

        unsigned forms; /* SPLIT_…: marks of these are text, even where they are control tokens */
        struct Constraint *constraint; /* what the text must be (constraint.h), its own; NULL: anything */
        bool held; /* it may not go on until the constraint is updated */

        Utf8Stream utf8;
        Buf text;     /* whole UTF-8, not yet sent */
        size_t ready; /* bytes of it that may be sent */
        uint64_t skip; /* bytes that the client has already */
        bool strip_space; /* nothing was said yet: the first token's leading space is the tokenizer's, not text */

        uint32_t n_sent; /* ids of this index and up are news */
        Buf logprobs, top_ids, top_lens, top_bytes; /* of the news, when asked for */

        /* The runner's: see sched.c. */
        SampleParams params;
        FairItem fair;
        ListNode node;
        int32_t slot; /* -1: none */
        uint32_t enqueued; /* positions whose rows were enqueued since it has this slot */
        uint32_t length;   /* tokens it will have when all that is enqueued is done */
        uint32_t chunk;    /* rows of its prompt in the step that is being filled */
        Lookup lookup;     /* what may come next; off where each token is wanted by itself */
        uint32_t n_guesses; /* of those that a step in flight computes after its last token; then it has no other row in flight */
        int32_t guesses[LOOKUP_MAX];
        uint32_t places[LANE_DEPTH]; /* of the steps in flight: 1 + its place among the sampled, 0: it has none */
        uint32_t n_cached; /* tokens of the prompt that were in the cache */
        bool started, paused;
        HeapItem due; /* a load test's: when it ends; until it has a slot, after how long */
        uint64_t queued_usec, started_usec, first_usec;
} Seq;

void seq_init(Seq *s, const IpcJob *job, const Tokenizer *t);
void seq_deinit(Seq *s);

/* Before the prompt: the text will be as the constraint, taken over, wants it. */
void seq_constrain(Seq *s, struct Constraint *c);
/* Gives it its prompt (`ids`, malloc'd, taken over in any case) and replays job->produced. A prompt too long for
 * `context` loses its oldest tokens after BOS where the job allows it; *ret_dropped says how many.
 * -E2BIG: the prompt does not fit. -ENOMEM. */
int seq_set_prompt(Seq *s, int32_t *ids, size_t n, uint32_t context, size_t *ret_dropped, Error *e);
/* The model's next token. */
void seq_accept(Seq *s, const SampleOut *out);

/* The model ended it. */
void seq_end(Seq *s);

/* What is new since seq_sent(), as views that live until the sequence changes. */
void seq_piece(const Seq *s, IpcPiece *ret);
void seq_sent(Seq *s);
static inline FairClass seq_class(const Seq *s) {
        return s->job->priority > 0 ? FAIR_BATCH : FAIR_INTERACTIVE;
}
/* Memory ran out on the way: what it holds is not whole. */
bool seq_failed(const Seq *s);
