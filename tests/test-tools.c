/* Tools from requests to templates: what clients of either dialect send becomes the context that the templates of
 * tests/data/chat-cases.json were rendered with, by Python, too. */
#include "api/api-private.h"
#include "chat-cases.h"

static json_t *messages_of(json_t *cases, const char *context) {
        return json_object_get(json_object_get(json_object_get(cases, "contexts"), context), "messages");
}

static void assert_same(json_t *got, json_t *expected) {
        if (!json_equal(got, expected))
                fail_msg("expected %s\ngot %s", json_dumps(expected, JSON_COMPACT), json_dumps(got, JSON_COMPACT));
}

/* Normalises the list and drops it. */
static void assert_becomes(json_t *sent, json_t *expected) {
        ApiError e = {0};
        json_t *o = json_pack("{s:o}", "messages", sent);
        json_t *got = arg_messages(&(Args){.object = o, .prefix = "", .error = &e}, "messages");
        assert_int_equal(e.status, 0);
        assert_same(got, expected);
        json_decref(got);
        json_decref(o);
}

typedef void Change(json_t *message, json_t *call);

static json_t *changed(const json_t *messages, Change *change) {
        json_t *copy = json_deep_copy(messages), *m, *call;
        size_t i, k;
        json_array_foreach(copy, i, m) {
                if (!json_object_get(m, "tool_calls"))
                        change(m, NULL);
                json_array_foreach(json_object_get(m, "tool_calls"), k, call)
                        change(m, call);
        }
        return copy;
}

static void as_openai(json_t *m, json_t *call) {
        json_t *function = json_object_get(call, "function");
        if (call) {
                char *text = json_dumps(json_object_get(function, "arguments"), JSON_INDENT(1));
                json_object_set_new(function, "arguments", json_string(text));
                json_object_set_new(m, "content", json_null());
                free(text);
        } else /* as its Python client writes what it has read */
                json_object_set_new(m, "tool_calls", json_null());
        json_object_del(m, "name");
}

static void as_ollama(json_t *m, json_t *call) {
        json_object_del(call, "id");
        json_object_del(call, "type");
        json_object_del(m, "tool_call_id");
        if (json_object_get(m, "name"))
                json_object_set(m, "tool_name", json_object_get(m, "name"));
        json_object_del(m, "name");
}

static void with_its_id(json_t *m, json_t *call) {
        if (call)
                json_object_set_new(call, "id", json_string("call00000"));
        if (!json_object_get(m, "tool_call_id"))
                return;
        json_object_set_new(m, "tool_call_id", json_string("call00000"));
        json_object_set(m, "tool_name", json_object_get(m, "name"));
}

static void test_dialects(void **state) {
        (void)state;
        json_t *cases = load_cases(), *expected = messages_of(cases, "tool call");
        assert_becomes(changed(expected, as_openai), expected);
        json_t *named = changed(expected, with_its_id);
        assert_becomes(changed(expected, as_ollama), named);
        assert_becomes(json_deep_copy(expected), expected);
        json_decref(named);
        json_decref(cases);
}

/* Results without ids belong to the calls in turn; those of the turn before are not meant. */
static void test_links(void **state) {
        (void)state;
        static const char sent[] = "["
                "{'role':'assistant','tool_calls':[{'function':{'name':'f'}},{'function':{'name':'g','arguments':''}}]},"
                "{'role':'tool','content':'1'},{'role':'tool','content':'2'},{'role':'tool','content':'3'},"
                "{'role':'assistant','content':'so','thinking':'hm','tool_calls':[{'id':'x','function':{'name':'h','arguments':'{'}}]},"
                "{'role':'tool','content':'4'},{'role':'tool','content':'5','tool_call_id':'call00000'},"
                "{'role':'assistant','content':null,'reasoning_content':'hm','tool_calls':[{'id':'y','function':{'name':'i'}}]},"
                "{'role':'assistant','content':'end','reasoning_content':'hm','tool_calls':[]}]",
                expected[] = "["
                "{'role':'assistant','content':'','tool_calls':["
                "{'id':'call00000','type':'function','function':{'name':'f','arguments':{}}},"
                "{'id':'call00001','type':'function','function':{'name':'g','arguments':{}}}]},"
                "{'role':'tool','content':'1','tool_call_id':'call00000','name':'f'},"
                "{'role':'tool','content':'2','tool_call_id':'call00001','name':'g'},{'role':'tool','content':'3'},"
                "{'role':'assistant','content':'so','reasoning_content':'hm',"
                "'tool_calls':[{'id':'x','type':'function','function':{'name':'h','arguments':'{'}}]},"
                "{'role':'tool','content':'4','tool_call_id':'x','name':'h'},{'role':'tool','content':'5','tool_call_id':'call00000'},"
                "{'role':'assistant','content':'','reasoning_content':'hm','thinking':'hm',"
                "'tool_calls':[{'id':'y','type':'function','function':{'name':'i','arguments':{}}}]},"
                "{'role':'assistant','content':'end','reasoning_content':'hm'}]";
        json_t *lists[2];
        const char *texts[] = {sent, expected};
        for (size_t i = 0; i < 2; i++) {
                char *text = strdup(texts[i]);
                for (char *p = text; *p; p++)
                        *p = *p == '\'' ? '"' : *p;
                lists[i] = json_loads(text, 0, NULL);
                assert_non_null(lists[i]);
                free(text);
        }
        assert_becomes(lists[0], lists[1]);
        json_decref(lists[1]);
}

static void assert_wrong(const char *json, const char *part) {
        ApiError e = {0};
        json_t *o = json_loads(json, 0, NULL), *variables = json_object();
        Args a = {.object = o, .prefix = "", .error = &e};
        if (json_object_get(o, "messages"))
                assert_null(arg_messages(&a, "messages"));
        else
                tools_read(&a, "tools", variables);
        assert_int_equal(e.status, 400);
        if (!strstr(e.text, part))
                fail_msg("%s: %s", json, e.text);
        assert_int_equal(json_object_size(variables), json_object_get(variables, "tools") ? 1 : 0);
        json_decref(variables);
        json_decref(o);
}

static void test_wrong(void **state) {
        (void)state;
        assert_wrong("{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{}]}]}", "messages[0]: tool_calls[0] must be");
        assert_wrong("{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [7]}]}", "messages[0]: tool_calls[0] must be");
        assert_wrong("{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": {}}]}", "messages[0]: tool_calls must be a list");
        assert_wrong("{\"tools\": {}}", "tools: must be a list");
        assert_wrong("{\"tools\": [7]}", "tools: element 0 must be");
        assert_wrong("{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"\"}}]}", "tools: element 0 must be");
        assert_wrong("{\"tools\": [{\"type\": \"custom\", \"function\": {\"name\": \"f\"}}]}", "tools: element 0 must be");
}

static void test_variables(void **state) {
        (void)state;
        ApiError e = {0};
        json_t *o = json_loads("{\"tools\": [{\"function\": {\"name\": \"f\"}}], \"none\": []}", 0, NULL), *v = json_object();
        Args a = {.object = o, .prefix = "", .error = &e};
        tools_read(&a, "none", v);
        tools_read(&a, "absent", v);
        assert_int_equal(json_object_size(v), 0);
        tools_read(&a, "tools", v);
        json_object_set_new(v, "thinking", json_true());
        thinking_set(v, false, NULL);
        json_t *expected = json_loads("{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\"}}], \"enable_thinking\": false,"
                                      " \"thinking\": true}", 0, NULL);
        assert_same(v, expected);
        thinking_set(v, true, "high");
        json_object_set_new(expected, "reasoning_effort", json_string("high"));
        assert_same(v, expected);
        assert_int_equal(e.status, 0);
        json_decref(expected);
        json_decref(v);
        json_decref(o);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_dialects), cmocka_unit_test(test_links), cmocka_unit_test(test_wrong),
                                           cmocka_unit_test(test_variables)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
