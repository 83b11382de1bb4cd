# Unit tests of src/model, and the small models they compare with transformers.
MODEL_TEST_LIBS = libzl-model.la libzl-device.la libzl-util.la $(JANSSON_LIBS) $(UNIT_LIBS)
MODEL_TESTS = tests/test-gguf tests/test-safetensors tests/test-model tests/test-hf tests/test-llama \
	tests/test-bert tests/test-hf-bert
check_PROGRAMS += $(MODEL_TESTS)
TESTS += $(MODEL_TESTS)
tests_test_gguf_SOURCES = tests/test-gguf.c
tests_test_gguf_CFLAGS = $(UNIT_CFLAGS)
tests_test_gguf_LDADD = $(MODEL_TEST_LIBS)
tests_test_safetensors_SOURCES = tests/test-safetensors.c tests/folder.h
tests_test_safetensors_CFLAGS = $(UNIT_CFLAGS)
tests_test_safetensors_LDADD = $(MODEL_TEST_LIBS)
tests_test_hf_SOURCES = tests/test-hf.c tests/model-folder.h tests/folder.h
tests_test_hf_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_hf_LDADD = $(MODEL_TEST_LIBS)
tests_test_model_SOURCES = tests/test-model.c
tests_test_model_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_model_LDADD = $(MODEL_TEST_LIBS)
tests_test_llama_SOURCES = tests/test-llama.c tests/json-file.h
tests_test_llama_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_llama_LDADD = $(MODEL_TEST_LIBS)
tests_test_bert_SOURCES = tests/test-bert.c tests/json-file.h tests/folder.h
tests_test_bert_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_bert_LDADD = $(MODEL_TEST_LIBS)
tests_test_hf_bert_SOURCES = tests/test-hf-bert.c tests/model-folder.h tests/folder.h
tests_test_hf_bert_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_hf_bert_LDADD = $(MODEL_TEST_LIBS)
EXTRA_DIST += tests/data/make-arch-cases.py tests/data/make-quant-cases.py \
	tests/data/quant-q4_k_m.gguf tests/data/quant-q4_k_m.json tests/data/quant-q3_k_m.gguf tests/data/quant-q3_k_m.json \
	tests/data/quant-iq4_xs.gguf tests/data/quant-iq4_xs.json \
	tests/data/arch-llama3.gguf tests/data/arch-llama3.json \
	tests/data/arch-mistral.gguf tests/data/arch-mistral.json \
	tests/data/arch-qwen2.gguf tests/data/arch-qwen2.json \
	tests/data/arch-qwen3.gguf tests/data/arch-qwen3.json \
	tests/data/arch-yarn.gguf tests/data/arch-yarn.json \
	tests/data/arch-qwen3moe.gguf tests/data/arch-qwen3moe.json \
	tests/data/arch-mixtral.gguf tests/data/arch-mixtral.json \
	tests/data/arch-gpt-oss.gguf tests/data/arch-gpt-oss.json \
	tests/data/arch-gemma.gguf tests/data/arch-gemma.json \
	tests/data/arch-gemma2.gguf tests/data/arch-gemma2.json \
	tests/data/arch-gemma2-27b.gguf tests/data/arch-gemma2-27b.json \
	tests/data/arch-gemma3.gguf tests/data/arch-gemma3.json \
	tests/data/arch-qwen2vl.gguf tests/data/arch-qwen2vl.json tests/data/arch-qwen3vl.gguf tests/data/arch-qwen3vl.json \
	tests/data/arch-mistral3.gguf tests/data/arch-mistral3.json \
	tests/data/arch-phi3.gguf tests/data/arch-phi3.json tests/data/arch-phi3-long.gguf tests/data/arch-phi3-long.json \
	tests/data/arch-phi3-short.json tests/data/arch-granite.gguf tests/data/arch-granite.json \
	tests/data/arch-smollm3.gguf tests/data/arch-smollm3.json tests/data/arch-olmo2.gguf tests/data/arch-olmo2.json \
	tests/data/arch-ollama-gemma3.gguf tests/data/arch-ollama-gemma3.json \
	tests/data/arch-ollama-gpt-oss.gguf tests/data/arch-ollama-gpt-oss.json \
	tests/data/make-hf-cases.py tests/data/hf-cases.json \
	tests/data/hf-llama tests/data/hf-mistral tests/data/hf-qwen2 tests/data/hf-qwen3 \
	tests/data/hf-yarn tests/data/hf-qwen3_moe tests/data/hf-mixtral tests/data/hf-gemma tests/data/hf-gemma2 tests/data/hf-gemma3 tests/data/hf-gemma3-images \
	tests/data/hf-qwen2_5_vl tests/data/hf-qwen3_vl tests/data/hf-mistral3 \
	tests/data/hf-phi3 tests/data/hf-granite tests/data/hf-smollm3 tests/data/hf-olmo2 \
	tests/data/make-bert-cases.py tests/data/bert-cases.json \
	tests/data/enc-bert tests/data/enc-xlm-roberta tests/data/enc-roberta tests/data/enc-qwen3 \
	tests/data/enc-nomic tests/data/enc-jina tests/data/enc-jina-rerank tests/data/make-gguf-encoders.py tests/data/gguf-encoder-cases.json \
	tests/data/enc-bert.gguf tests/data/enc-bert-f16.gguf tests/data/enc-bert-q8_0.gguf tests/data/enc-bert-q4_0.gguf \
	tests/data/enc-nomic.gguf tests/data/enc-qwen3.gguf tests/data/enc-xlm-roberta.gguf \
	tests/data/enc-xlm-roberta-rerank.gguf \
	tests/data/enc-bert-rerank tests/data/enc-roberta-rerank tests/data/enc-xlm-roberta-rerank
