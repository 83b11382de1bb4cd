/* Attention within texts that are wholly at hand.
 *
 * One piece of work is a panel of rows of one text and one head; what is done to it is in kernels-attention.c. Where a row
 * sees only keys up to its own, those after it are weighed, too, as far as the last row of the panel needs them, and count
 * 0. Which rows those are follows from a row's place in its text. */
#include "device/cpu/cpu.h"

typedef struct SelfAttentionOp {
        SelfAttention a;
        float *out;
} SelfAttentionOp;

/* Rows from `first` on, counted from the text's begin, and one head. */
static void piece_run(const SelfAttentionOp *op, const CpuPart *part, uint32_t text, uint32_t first, uint32_t head) {
        const SelfAttention *a = &op->a;
        const CpuAttention *kernels = part->kernels->attention;
        uint32_t begin = a->texts.starts[text], length = a->texts.starts[text + 1] - begin;
        uint32_t n = MIN(length - first, kernels->panel), kv_head = head / (a->n_heads / a->n_kv_heads);
        kernels->attend(&(CpuAttend){
                .q = a->q + (begin + first) * a->q_stride + (size_t)head * a->head_dim,
                .k = a->k + begin * a->k_stride + (size_t)kv_head * a->head_dim,
                .v = a->v + begin * a->v_stride + (size_t)kv_head * a->head_dim,
                .out = op->out + (begin + first) * a->out_stride + (size_t)head * a->head_dim,
                .q_stride = a->q_stride,
                .k_stride = a->k_stride,
                .v_stride = a->v_stride,
                .out_stride = a->out_stride,
                .n = n,
                .first = first,
                .n_keys = a->causal ? first + n : length,
                .dim = a->head_dim,
                .causal = a->causal,
                .scale = a->scale,
                .slope = a->alibi ? alibi_slope(head, a->n_heads) : 0,
                .scratch = (float *)part->scratch,
        });
}

/* Pieces are dealt out in turn, which gives every part some of each text. */
static void self_attention_run(const void *args, const CpuPart *part) {
        const SelfAttentionOp *op = args;
        const Texts *texts = &op->a.texts;
        size_t n = 0;
        for (uint32_t t = 0; t < texts->n; t++)
                for (uint32_t head = 0; head < op->a.n_heads; head++)
                        for (uint32_t first = 0; first < texts->starts[t + 1] - texts->starts[t];
                             first += part->kernels->attention->panel)
                                if (n++ % part->n == part->index)
                                        piece_run(op, part, t, first, head);
}

/* Two products and an exponential for each pair of rows and head. */
static uint64_t self_attention_work(const void *args) {
        const SelfAttention *a = &((const SelfAttentionOp *)args)->a;
        uint64_t pairs = 0;
        for (uint32_t t = 0; t < a->texts.n; t++) {
                uint64_t length = a->texts.starts[t + 1] - a->texts.starts[t];
                pairs += length * length;
        }
        return pairs * a->n_heads * (2 * a->head_dim + 16);
}

void cpu_self_attention(Stream *s, float *out, const SelfAttention *a) {
        SelfAttentionOp *op = stream_op(s, self_attention_run, self_attention_work, sizeof(*op),
                                        stream_kernels(s)->attention->scratch_size(a->texts.longest, a->head_dim));
        if (op)
                *op = (SelfAttentionOp){*a, out};
}
