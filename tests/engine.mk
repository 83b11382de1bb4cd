# Unit tests of src/engine.
ENGINE_TESTS = tests/test-kv tests/test-lookup tests/test-fair tests/test-stop tests/test-engine tests/test-engine-process \
	tests/test-sampler-defaults tests/test-loadtest tests/test-delay tests/test-sim tests/test-embed tests/test-inputs
check_PROGRAMS += $(ENGINE_TESTS)
TESTS += $(ENGINE_TESTS)
tests_test_kv_SOURCES = tests/test-kv.c
tests_test_kv_CFLAGS = $(UNIT_CFLAGS)
tests_test_kv_LDADD = libzl-engine.la libzl-util.la $(UNIT_LIBS)
tests_test_lookup_SOURCES = tests/test-lookup.c
tests_test_lookup_CFLAGS = $(UNIT_CFLAGS)
tests_test_lookup_LDADD = libzl-engine.la libzl-util.la $(UNIT_LIBS)
tests_test_fair_SOURCES = tests/test-fair.c
tests_test_fair_CFLAGS = $(UNIT_CFLAGS)
tests_test_fair_LDADD = libzl-engine.la libzl-util.la $(UNIT_LIBS)
tests_test_stop_SOURCES = tests/test-stop.c
tests_test_stop_CFLAGS = $(UNIT_CFLAGS)
tests_test_stop_LDADD = libzl-engine.la libzl-ipc.la libzl-event.la libzl-util.la $(UNIT_LIBS)
tests_test_sampler_defaults_SOURCES = tests/test-sampler-defaults.c tests/model-folder.h tests/folder.h
tests_test_sampler_defaults_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_sampler_defaults_LDADD = $(ENGINE_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS) -lm
tests_test_engine_SOURCES = tests/test-engine.c tests/engine-client.h src/engine/open-cpu.c
tests_test_engine_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_engine_LDADD = $(ENGINE_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
tests_test_engine_process_SOURCES = tests/test-engine-process.c
tests_test_engine_process_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_engine_process_LDADD = libzl-ipc.la libzl-event.la libzl-util.la $(JANSSON_LIBS) $(UNIT_LIBS)
EXTRA_tests_test_engine_process_DEPENDENCIES = zerollama-engine
tests_test_loadtest_SOURCES = tests/test-loadtest.c tests/engine-client.h src/engine/open-cpu.c
tests_test_loadtest_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_loadtest_LDADD = $(ENGINE_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
# The runner's source is in the test, beside a loop and a clock of its own.
tests_test_delay_SOURCES = tests/test-delay.c
tests_test_delay_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_delay_LDADD = libzl-engine.la libzl-text.la libzl-ipc.la libzl-util.la $(PCRE2_LIBS) $(UTF8PROC_LIBS) \
	$(JANSSON_LIBS) $(UNIT_LIBS) -lm
# The scheduler's source is in the test, beside a loop, a model and a device of its own.
tests_test_embed_SOURCES = tests/test-embed.c
tests_test_embed_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_embed_LDADD = libzl-engine.la libzl-text.la libzl-ipc.la libzl-util.la $(PCRE2_LIBS) $(UTF8PROC_LIBS) \
	$(JANSSON_LIBS) $(UNIT_LIBS) -lm
# Inputs' source is in the test, to count what it asks of the tokenizer.
tests_test_inputs_SOURCES = tests/test-inputs.c
tests_test_inputs_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_inputs_LDADD = $(ENGINE_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS) -lm
tests_test_sim_SOURCES = tests/test-sim.c
tests_test_sim_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_sim_LDADD = libzl-engine.la libzl-text.la libzl-ipc.la libzl-util.la $(PCRE2_LIBS) $(UTF8PROC_LIBS) \
	$(JANSSON_LIBS) $(UNIT_LIBS)
