/* The chat template of gpt-oss ("harmony", OpenAI's format of messages) for files that bring none, as Ollama's. Its text is our
 * own; what it makes of a chat is what the published one does, but for white space in the types of nested objects. */
#pragma once

extern const char harmony_template[];
