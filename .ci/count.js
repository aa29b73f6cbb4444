// What vitest's JSON report comes to, skipped tests named: node .ci/count.js FILE
import { readFileSync } from 'node:fs'

const report = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'))
let passed = 0
let failed = 0
for (const file of report.testResults) {
  // A file that could not even be read has no tests to fail.
  if (file.status === 'failed' && file.assertionResults.length === 0) {
    failed += 1
    console.log(`failed to load: ${file.name}`)
  }
  for (const test of file.assertionResults) {
    if (test.status === 'passed') passed += 1
    else {
      // One that was skipped, too: everything that tests need is installed here.
      failed += 1
      console.log(`${test.status}: ${test.fullName}`)
    }
  }
}
console.log(`passed ${passed}`)
console.log(`failed ${failed}`)
