// The textbook's client: node examples/client-chat.ts ["a question"] [url]
// Any Node from 18 on runs it as it is: no syntax that would have to be taken away, no `import`, no `await` outside a function.
async function main() {
  const [question = "Could you explain what is dask?", url = "http://localhost:8000/"] = process.argv.slice(2);
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(question),
  });
  console.log(await response.text());
}

void main();
