# Programs that measure. They are built, so that they keep up with the code, but never run by the tests.
noinst_PROGRAMS += bench/cpu-ops bench/decode bench/tokenize bench/encode
bench_cpu_ops_SOURCES = bench/bench.h bench/cpu-ops.c
bench_cpu_ops_LDADD = libzl-device.la libzl-util.la
bench_decode_SOURCES = bench/bench.h bench/decode.c
bench_decode_LDADD = libzl-model.la libzl-device.la libzl-util.la
bench_tokenize_SOURCES = bench/bench.h bench/tokenize.c
bench_tokenize_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
bench_tokenize_LDADD = libzl-vocab.la libzl-model.la libzl-device.la libzl-text.la libzl-util.la $(JANSSON_LIBS)
bench_encode_SOURCES = bench/bench.h bench/encode.c
bench_encode_LDADD = libzl-model.la libzl-device.la libzl-util.la

# Scripts that measure whole servers; see bench/README.md.
EXTRA_DIST += bench/README.md bench/tokens.py bench/measure.py bench/plot.py bench/overhead bench/essay/run bench/essay/wire.py \
	bench/essay/sync.py bench/essay/gevent_pool.py bench/essay/async_io.py \
	bench/common.py bench/overload.py bench/reload.py bench/fairness.py bench/prefix.py bench/lookup.py bench/random_model.py \
	bench/service.py bench/embed.py bench/embed_quality.py bench/embed_rivals.py bench/embed_clients.py bench/results
