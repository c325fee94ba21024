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
