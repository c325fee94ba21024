/** `console` in a tab's replica: what user code prints goes to its log as well as to the browser's own console. */

const LEVELS = { debug: "info", log: "info", info: "info", warn: "warn", error: "error" } as const;

export function forwardConsole(log: (level: "info" | "warn" | "error", text: string) => void): void {
  for (const [name, level] of Object.entries(LEVELS) as [keyof typeof LEVELS, "info" | "warn" | "error"][]) {
    const original = console[name].bind(console);
    console[name] = (...values: unknown[]) => {
      original(...values);
      log(level, values.map(textOf).join(" "));
    };
  }
}

function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  if (value instanceof Error) return value.stack ?? value.message;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}
