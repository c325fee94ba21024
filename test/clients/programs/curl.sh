# curl.
set -euo pipefail
ask() { curl --silent --show-error --no-buffer --max-time 60 "$@"; }
json='content-type: application/json'
ask "$OPENAI_BASE_URL/models" | grep -q '"id":"chat"'
echo models
chat='{"model":"chat","messages":[{"role":"user","content":"What is the capital of France? Answer in one short sentence."}],"temperature":0,"max_tokens":24'
ask "$OPENAI_BASE_URL/chat/completions" -H "$json" -d "$chat}" | grep -q Paris
ask "$OPENAI_BASE_URL/chat/completions" -H "$json" -d "$chat,\"stream\":true}" > stream.txt
test "$(grep -c '^data: \[DONE\]$' stream.txt)" = 1
grep -q '"finish_reason":"stop"\|"finish_reason":"length"' stream.txt
echo "chat, whole and streamed"
test "$(ask -o error.json -w '%{http_code} %{content_type}' "$OPENAI_BASE_URL/chat/completions" -H "$json" -d '{"model":"x","messages":[]}')" = '404 application/json'
grep -q '"code":"model_not_found"' error.json
echo errors
person='{"type":"object","properties":{"name":{"enum":["Ann","Bob"]},"age":{"type":"integer","minimum":0,"maximum":150}},"required":["name","age"],"additionalProperties":false}'
about='"messages":[{"role":"user","content":"Ann is 30 years old. Describe her as JSON."}],"temperature":0,"max_tokens":60'
ask "$OPENAI_BASE_URL/chat/completions" -H "$json" -d "{\"model\":\"chat\",$about,\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"person\",\"schema\":$person}}}" |
  grep -Eq '"content":"\{\\"name\\": ?\\"(Ann|Bob)\\", ?\\"age\\": ?[0-9]+\}"'
echo "structured output"
tools='"tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}]'
question='"messages":[{"role":"user","content":"Does it rain in Paris?"}]'
ask "$SCRIPTED_BASE_URL/chat/completions" -H "$json" -d "{\"model\":\"tiny\",$question,$tools}" > call.json
grep -q '"finish_reason":"tool_calls"' call.json
grep -q '"name":"weather","arguments":"{\\"city\\":\\"Paris\\"}"' call.json
echo tools
# A client that leaves a stream does the others no harm.
ask "$OPENAI_BASE_URL/chat/completions" -H "$json" -d '{"model":"chat","messages":[{"role":"user","content":"Write a long story."}],"stream":true}' | head -n 9 > part.txt || true
test "$(grep -c '^data: ' part.txt)" -ge 4
ask "$OPENAI_BASE_URL/chat/completions" -H "$json" -d "$chat}" | grep -q Paris
echo cancel
