/**
 * Chat templates by name: how the messages of a conversation become one text. Jinja, as transformers renders it, each
 * written from the published format of its family; `bos_token` and `eos_token` are the tokenizer's own.
 */
export const BUILT_IN_TEMPLATES: Readonly<Record<string, string>> = {
  alpaca: [
    "{%- for message in messages -%}",
    "{%- if message['role'] == 'system' -%}{{ message['content'] | trim + '\\n\\n' }}",
    "{%- elif message['role'] == 'user' -%}{{ '### Instruction:\\n' + message['content'] | trim + '\\n\\n' }}",
    "{%- elif message['role'] == 'assistant' -%}",
    "{{ '### Response:\\n' + message['content'] | trim + eos_token + '\\n\\n' }}",
    "{%- endif -%}",
    "{%- endfor -%}",
    "{%- if add_generation_prompt -%}{{ '### Response:\\n' }}{%- endif -%}",
  ].join(""),
  chatml: [
    "{%- for message in messages -%}",
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>\\n' }}",
    "{%- endfor -%}",
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}",
  ].join(""),
  exaone: [
    "{%- for message in messages -%}",
    "{%- if loop.first and message['role'] != 'system' -%}{{ '[|system|][|endofturn|]\\n' }}{%- endif -%}",
    "{{ '[|' + message['role'] + '|]' + message['content'] | trim }}",
    "{%- if message['role'] == 'user' -%}{{ '\\n' }}{%- else -%}{{ '[|endofturn|]\\n' }}{%- endif -%}",
    "{%- endfor -%}",
    "{%- if add_generation_prompt -%}{{ '[|assistant|]' }}{%- endif -%}",
  ].join(""),
  llama3: [
    "{{ bos_token }}",
    "{%- for message in messages -%}",
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}",
    "{{ message['content'] | trim + '<|eot_id|>' }}",
    "{%- endfor -%}",
    "{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif -%}",
  ].join(""),
  mistral: [
    "{{ bos_token }}",
    "{%- set ns = namespace(system='') -%}",
    "{%- for message in messages -%}",
    "{%- if message['role'] == 'system' -%}{%- set ns.system = message['content'] | trim + '\\n\\n' -%}",
    "{%- elif message['role'] == 'user' -%}",
    "{{ '[INST] ' + ns.system + message['content'] | trim + ' [/INST]' }}{%- set ns.system = '' -%}",
    "{%- elif message['role'] == 'assistant' -%}{{ ' ' + message['content'] | trim + eos_token }}",
    "{%- endif -%}",
    "{%- endfor -%}",
  ].join(""),
};
