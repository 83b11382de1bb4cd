/* The chat template of gpt-oss; see harmony.h.
 *
 *   system      who the model is, the date, how much it is to think, which channels there are
 *   developer   the chat's system message, and its tools as declarations of TypeScript
 *   user, assistant, functions.NAME   what was said, called and answered; thoughts only before calls of the last turn
 *
 * A call names its function in the message's head; so does an answer, which is JSON. */
#include "text/harmony.h"

const char harmony_template[] =
        /* A JSON schema as a type. */
        "{%- macro kind(s) -%}"
        "{%- if s.type == 'string' and s.enum -%}\"{{ s.enum | join('\" | \"') }}\""
        "{%- elif s.type == 'string' or s.type == 'boolean' -%}{{ s.type }}"
        "{%- elif s.type == 'number' or s.type == 'integer' -%}number"
        "{%- elif s.type is not string and s.type is iterable -%}{{ s.type | join(' | ') }}"
        "{%- elif s.type == 'array' and s['items'] -%}{{ kind(s['items']) }}[]"
        "{%- elif s.type == 'array' -%}any[]"
        "{%- elif s.type == 'object' and s.properties -%}{{ '{\\n' }}"
        "{%- for name, p in s.properties.items() -%}"
        "{{ name }}{{ '' if name in (s.required or []) else '?' }}: {{ kind(p) }}{{ '' if loop.last else ', ' }}"
        "{%- endfor -%}}"
        "{%- elif s.type == 'object' -%}object"
        "{%- else -%}any"
        "{%- endif -%}"
        "{%- if s.nullable and (s.type == 'array' or (s.type == 'string' and not s.enum)) %} | null{% endif -%}"
        "{%- endmacro -%}"

        "{%- macro declare(f) -%}"
        "{{- '// ' + (f.description or '') + '\\ntype ' + f.name + ' = ' -}}"
        "{%- if f.parameters and f.parameters.properties -%}{{ '(_: {\\n' }}"
        "{%- for name, p in f.parameters.properties.items() -%}"
        "{{ '// ' + p.description + '\\n' if p.description else '' }}"
        "{{ name }}{{ '' if name in (f.parameters.required or []) else '?' }}: {{ kind(p) }}"
        "{%- if p.default is defined %}, // default: {{ p.default if p.enum else p.default | tojson }}{% endif -%}"
        "{{ ',\\n' }}"
        "{%- endfor -%}}"
        "{%- else -%}("
        "{%- endif -%}"
        "{{ ') => any;\\n\\n' }}"
        "{%- endmacro -%}"

        "{{- '<|start|>system<|message|>' + (model_identity or 'You are ChatGPT, a large language model trained by OpenAI.') -}}"
        "{{- '\\nKnowledge cutoff: 2024-06\\nCurrent date: ' + strftime_now('%Y-%m-%d') -}}"
        "{{- '\\n\\nReasoning: ' + (reasoning_effort or 'medium') -}}"
        "{{- '\\n\\n# Valid channels: analysis, commentary, final. Channel must be included for every message.' -}}"
        "{{- '\\nCalls to these tools must go to the commentary channel: \\'functions\\'.' if tools else '' -}}"
        "{{- '<|end|>' -}}"

        "{%- set first = messages[0] -%}"
        "{%- set told = first.content if first.role == 'system' or first.role == 'developer' else '' -%}"
        "{%- if told or tools -%}"
        "{{- '<|start|>developer<|message|>' -}}"
        "{{- '# Instructions\\n\\n' + told + '\\n\\n' if told else '' -}}"
        "{%- if tools -%}{{ '# Tools\\n\\n## functions\\n\\nnamespace functions {\\n\\n' }}"
        "{%- for t in tools -%}{{ declare(t.function) }}{%- endfor -%}} // namespace functions"
        "{%- endif -%}"
        "{{- '<|end|>' -}}"
        "{%- endif -%}"

        /* After an answer to the user, what was thought before it is of no more use. */
        "{%- set seen = namespace(answer=-1, name='') -%}"
        "{%- for m in messages -%}"
        "{%- if m.role == 'assistant' and not m.tool_calls -%}{%- set seen.answer = loop.index0 -%}{%- endif -%}"
        "{%- endfor -%}"

        "{%- for m in messages -%}"
        "{%- if m.role == 'user' -%}"
        "{{- '<|start|>user<|message|>' + m.content + '<|end|>' -}}"
        "{%- elif m.role == 'assistant' and m.tool_calls -%}"
        "{%- set thought = m.thinking or m.content -%}"
        "{{- '<|start|>assistant<|channel|>analysis<|message|>' + thought + '<|end|>' if thought and loop.index0 > seen.answer else '' -}}"
        "{%- for c in m.tool_calls -%}"
        "{{- '<|start|>assistant to=functions.' + c.function.name + '<|channel|>commentary json<|message|>' -}}"
        "{{- c.function.arguments | tojson -}}{{- '<|call|>' -}}"
        "{%- set seen.name = c.function.name -%}"
        "{%- endfor -%}"
        "{%- elif m.role == 'assistant' -%}"
        "{{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' -}}"
        "{%- elif m.role == 'tool' -%}"
        "{{- '<|start|>functions.' + (m.name or seen.name) + ' to=assistant<|channel|>commentary<|message|>' -}}"
        "{{- m.content | tojson -}}{{- '<|end|>' -}}"
        "{%- endif -%}"
        "{%- endfor -%}"
        "{{- '<|start|>assistant' if add_generation_prompt else '' -}}";
