# Tests that start the real daemon and talk to it as clients do.
INTEGRATION_TESTS = tests/it-api.py tests/it-dialects.py tests/it-text.py tests/it-crash.py tests/it-life.py tests/it-service.py tests/it-systemd.py tests/it-cancel.py tests/it-hostile.py tests/it-admission.py tests/it-hf.py tests/it-embed.py tests/it-tools.py tests/it-structured.py tests/it-pull.py tests/it-variants.py tests/it-cuda.py
dist_check_SCRIPTS += $(INTEGRATION_TESTS)
EXTRA_DIST += tests/harness.py tests/sdbox.py tests/bert.py tests/gguf_file.py tests/scripted.py
TESTS += $(INTEGRATION_TESTS)
