# Chat templates. The cases come from Python's Jinja2; make-chat-cases.py makes them anew.
EXTRA_DIST += tests/data/make-chat-cases.py tests/data/chat-cases.json
check_PROGRAMS += tests/test-jinja tests/test-chat
TESTS += tests/test-jinja tests/test-chat
tests_test_jinja_SOURCES = tests/test-jinja.c tests/chat-cases.h tests/json-file.h
tests_test_jinja_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_jinja_LDADD = libzl-text.la libzl-util.la $(UNIT_LIBS) $(JANSSON_LIBS)
tests_test_chat_SOURCES = tests/test-chat.c tests/chat-cases.h tests/json-file.h
tests_test_chat_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_test_chat_LDADD = libzl-text.la libzl-util.la $(UNIT_LIBS) $(JANSSON_LIBS)
