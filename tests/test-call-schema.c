/* The schema of a call that must be made, written out by hand; and that it is one that grammars are made of. */
#include "text/call-schema.h"
#include "text/schema.h"
#include "text/split.h"
#include "unit.h"

/* JSON with ' for ". */
static json_t *json(const char *text) {
        char *copy = strdup(text);
        for (char *p = copy; *p; p++)
                *p = *p == '\'' ? '"' : *p;
        json_t *j = json_loads(copy, 0, NULL);
        assert_non_null(j);
        free(copy);
        return j;
}

static void check(unsigned forms, const char *functions, const char *expected) {
        json_t *f = json(functions), *want = json(expected), *got = call_schema(forms, f);
        char *text = json_dumps(got, JSON_COMPACT);
        Grammar *g = NULL;
        Error e = ERROR_NULL;
        if (!json_equal(got, want))
                fail_msg("got %s", text);
        assert_int_equal(grammar_new(&g), 0);
        if (schema_compile("it", text, strlen(text), g, &e) < 0)
                fail_msg("%s", e.text);
        grammar_free(g);
        free(text);
        json_decref(got);
        json_decref(want);
        json_decref(f);
}

#define CALL(name, key, arguments)                                                                                             \
        "{'type':'object','properties':{'name':{'const':'" name "'},'" key "':" arguments "},'required':['name','" key "'],"      \
        "'additionalProperties':false}"

static void test_forms(void **state) {
        (void)state;
        check(SPLIT_CALL_TAGS, "[{'name':'f'},{'name':'g','parameters':{'type':'object','properties':{}}}]",
              "{'anyOf':[" CALL("f", "arguments", "{'type':'object'}") "," CALL("g", "arguments", "{'type':'object','properties':{}}") "]}");
        check(SPLIT_CALL_BARE, "[{'name':'f'}]", "{'anyOf':[" CALL("f", "parameters", "{'type':'object'}") "]}");
        check(SPLIT_CALL_BRACKETS, "[{'name':'f'}]",
              "{'type':'array','minItems':1,'maxItems':1,'items':{'anyOf':[" CALL("f", "arguments", "{'type':'object'}") "]}}");
}

#define TREE(to)                                                                                                               \
        "{'type':'object','$defs':{'t':{'type':'array','items':{'$ref':'" to "/$defs/t'}}},"                                     \
        "'properties':{'a':{'$ref':'" to "/$defs/t'},'b':{'const':'#'},'$ref':{'enum':['#x']}}}"

/* What a schema says of itself it says at its new place. */
static void test_references(void **state) {
        (void)state;
        check(SPLIT_CALL_TAGS, "[{'name':'f'},{'name':'g','parameters':" TREE("#") "}]",
              "{'anyOf':[" CALL("f", "arguments", "{'type':'object'}") "," CALL("g", "arguments", TREE("#/anyOf/1/properties/arguments")) "]}");
        check(SPLIT_CALL_LIST, "[{'name':'f','parameters':" TREE("#") "}]",
              "{'type':'array','minItems':1,'maxItems':1,'items':{'anyOf':["
              CALL("f", "arguments", TREE("#/items/anyOf/0/properties/arguments")) "]}}");
}

static void test_none(void **state) {
        (void)state;
        static const char *const wrong[] = {"[]", "[{}]", "[7]", "{}", "[{'name':'f'},7]"};
        assert_null(call_schema(SPLIT_CALL_TAGS, NULL));
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                json_t *f = json(wrong[i]);
                assert_null(call_schema(SPLIT_CALL_TAGS, f));
                json_decref(f);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_references), cmocka_unit_test(test_none)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
