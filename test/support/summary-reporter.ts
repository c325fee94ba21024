/** Ends a test run with what was skipped and why, and one plain line: `N passed, N failed[, N skipped]`. */
import type { Reporter, TestCase, TestModule } from "vitest/node";

type Unhandled = Parameters<NonNullable<Reporter["onTestRunEnd"]>>[1];

export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: Unhandled): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const skipped = tests.filter((test) => test.result().state === "skipped");
    // What failed outside any test (a file that does not load, a stray rejection) is a failure too.
    const outside = unhandled.length + modules.reduce((sum, module) => sum + module.errors().length, 0);
    const failed =
      tests.filter((test) => test.result().state === "failed" || test.result().state === "pending").length + outside;
    const passed = tests.filter((test) => test.result().state === "passed").length;

    for (const test of skipped) console.log(`skipped: ${test.module.moduleId}: ${test.fullName}: ${reason(test)}`);
    const plain = `${passed} passed, ${failed} failed`;
    console.log(skipped.length > 0 ? `${plain}, ${skipped.length} skipped` : plain);
  }
}

function reason(test: TestCase): string {
  const result = test.result();
  return (result.state === "skipped" && result.note) || "no reason given";
}
