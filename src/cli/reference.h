/* What people call a model that is somewhere else: "llama3.2:1b", "hf.co/Qwen/Qwen3-0.6B-GGUF:Q8_0", as `ollama pull` takes it.
 *
 *   [http://|https://][HOST[:PORT]/][NAMESPACE/]MODEL[:TAG]
 *
 * Without a host it is registry.ollama.ai, without a namespace there library, without a tag latest. */
#pragma once

#include <stdbool.h>

typedef struct Reference { /* strings are its own */
        char *registry;   /* "https://registry.ollama.ai" */
        char *repository; /* "library/llama3.2" */
        char *tag;        /* "1b" */
        char *name;       /* by which it is served here: the model, and the tag where it is not latest */
} Reference;

/* False: `why` says what is wrong with it. */
bool reference_parse(const char *text, Reference *ret, const char **why);
void reference_deinit(Reference *r);
/* Whether a model can be served by that name from a file of ours: one part of a path, not hidden, of plain characters. */
bool reference_is_name(const char *name);
