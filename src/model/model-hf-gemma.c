/* What config.json says of Google's Gemma, as transformers' Gemma, Gemma2 and Gemma3Text classes read it, with their
 * defaults; see llama.c for what is computed. Of a model that sees images, too (Gemma3ForConditionalGeneration), the part
 * about texts is served. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "model/hf-config.h"

/* GELU by tanh, by any of its names: what the first generation calls "gelu" is it, too. */
static int check_activation(const Model *m, Error *e) {
        static const char *const keys[] = {"hidden_activation", "hidden_act"};
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                const json_t *act = config_get(hf_text_config(m->hf), keys[i]);
                const char *name = json_is_string(act) ? json_string_value(act) : "no string";
                bool older = !m->kind->post_norm && strcmp(name, "gelu") == 0;
                if (act && strcmp(name, "gelu_pytorch_tanh") != 0 && !older)
                        return BAD_VALUE(m, e, -EOPNOTSUPP, keys[i], "is '%.40s'; 'gelu_pytorch_tanh' is supported", name);
                if (act)
                        return 0;
        }
        return 0;
}

/* The one value that is something else where it is null: there is no cap then. */
static int read_cap(const Model *m, const char *key, float standard, float *ret, Error *e) {
        const json_t *config = hf_text_config(m->hf);
        *ret = json_object_get(config, key) ? 0 : standard;
        return config_positive(m, config, key, false, ret, e);
}

static void set_defaults(Model *m) {
        ModelInfo *i = &m->info;
        bool third = m->kind->qk_norm, second = m->kind->post_norm && !third;
        i->head_dim = 256;
        i->context_length = third ? 131072 : 8192;
        i->n_vocab = third ? 262208 : 256000;
        i->n_heads = third || second ? 8 : 16;
        i->n_kv_heads = third || second ? 4 : 16;
        i->window = m->kind->global_every > 0 ? 4096 : 0;
        m->params.norm_offset = 1;
        m->params.local_base = third ? 10000 : 0;
}

int describe_gemma(Model *m, Error *e) {
        ModelParams *p = &m->params;
        const json_t *config = hf_text_config(m->hf);
        bool third = m->kind->qk_norm, both_ways;
        float scalar = 256;
        int k;
        set_defaults(m);
        if ((k = check_activation(m, e)) < 0 || (k = config_flag(m, "use_bidirectional_attention", &both_ways, e)) < 0)
                return k;
        if (both_ways)
                return BAD_VALUE(m, e, -EOPNOTSUPP, "use_bidirectional_attention",
                                 "asks for attention in both directions, which is not supported");
        if (!m->kind->post_norm)
                return 0;
        if ((k = config_positive(m, config, "query_pre_attn_scalar", false, &scalar, e)) < 0 ||
            (k = config_positive(m, config, "rope_local_base_freq", false, &p->local_base, e)) < 0 ||
            (k = read_cap(m, "attn_logit_softcapping", third ? 0 : 50, &p->attention_cap, e)) < 0 ||
            (k = read_cap(m, "final_logit_softcapping", third ? 0 : 30, &p->logit_cap, e)) < 0)
                return k;
        p->attention_scale = 1 / sqrtf(scalar);
        if (!third)
                p->local_base = 0; /* a key that its class does not read */
        return 0;
}
