# The openai package of pip.
import json
import os
import openai
import typing
import pydantic

client = openai.OpenAI(max_retries=0)
messages = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]

assert [model.id for model in client.models.list()] == ["tiny", "chat", "encoder"]
print("models")

asked = dict(model="chat", messages=messages, temperature=0, max_completion_tokens=24)
whole = client.chat.completions.create(**asked)
assert "Paris" in whole.choices[0].message.content
with client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}) as stream:
    chunks = list(stream)
assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
print("chat, whole and streamed")

extra = client.chat.completions.create(model="tiny", messages=messages, max_tokens=4, extra_body={"top_k": 5, "timings": True})
assert extra.model_extra["timings"]["time_to_first_token_ms"] >= 0
print("extra_body")

assert client.completions.create(model="tiny", prompt=["a", "b"], max_tokens=3).usage.completion_tokens == 6
print("completions")

embedded = client.embeddings.create(model="encoder", input=["A cat sits on the mat.", "A kitten is on a rug.", "Shares fell on Monday."])
cat, kitten, shares = [item.embedding for item in embedded.data]
cosine = lambda a, b: sum(x * y for x, y in zip(a, b))
assert len(cat) == 384 and abs(cosine(cat, cat) - 1) < 1e-6
assert cosine(cat, kitten) > 0.5 and cosine(cat, shares) < 0.2
floats = client.embeddings.create(model="encoder", input="A cat sits on the mat.", encoding_format="float").data[0].embedding
assert cosine(cat, floats) > 0.99999 and embedded.usage.total_tokens > 15
print("embeddings, base64 and floats")

response = client.responses.create(model="chat", input="What is the capital of France? Answer in one short sentence.", temperature=0, max_output_tokens=24)
assert "Paris" in response.output_text
with client.responses.stream(model="chat", input="What is the capital of France? Answer in one short sentence.", temperature=0, max_output_tokens=24) as events:
    for _ in events:
        pass
    assert events.get_final_response().output_text == response.output_text
print("responses")

class Person(pydantic.BaseModel):
    name: typing.Literal["Ann", "Bob"]
    age: int = pydantic.Field(ge=0, le=150)
    tall: bool | None

about = [{"role": "user", "content": "Ann is 30 years old. Describe her."}]
parsed = client.chat.completions.parse(model="chat", messages=about, temperature=0, max_completion_tokens=120, response_format=Person)
assert parsed.choices[0].message.parsed.age == 30
typed = client.responses.parse(model="chat", input=about, temperature=0, max_output_tokens=120, text_format=Person)
assert isinstance(typed.output_parsed, Person)
chosen = client.completions.create(model="tiny", prompt="a", extra_body={"structured_outputs": {"choice": ["sea", "river"]}})
assert chosen.choices[0].text in ("sea", "river")
print("structured output: parsed, in responses, a choice")

tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
scripted = openai.OpenAI(base_url=os.environ["SCRIPTED_BASE_URL"], max_retries=0)
question = [{"role": "user", "content": "Does it rain in Paris?"}]
said = scripted.chat.completions.create(model="tiny", messages=question, tools=tools).choices[0]
call = said.message.tool_calls[0]
assert said.finish_reason == "tool_calls" and json.loads(call.function.arguments) == {"city": "Paris"}
with scripted.chat.completions.stream(model="tiny", messages=question, tools=tools) as stream:
    for _ in stream:
        pass
    streamed = stream.get_final_completion().choices[0].message.tool_calls[0]
assert (streamed.function.name, streamed.function.arguments) == (call.function.name, call.function.arguments)
result = {"role": "tool", "tool_call_id": call.id, "content": "all day"}
told = scripted.chat.completions.create(model="tiny", messages=[*question, said.message, result], tools=tools)
assert told.choices[0].message.content == "It rains: all day"
print("tools, whole and streamed, and their results")

try:
    client.chat.completions.create(model="none", messages=messages)
    raise AssertionError("an unknown model was served")
except openai.NotFoundError as error:
    assert error.code == "model_not_found" and "Could not find" in json.dumps(error.body)
print("errors")

with client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "Write a long story."}], stream=True) as stream:
    for index, _ in enumerate(stream):
        if index == 5:
            break
print("cancel")
