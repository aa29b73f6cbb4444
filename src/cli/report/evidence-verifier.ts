/**
 * What an auditor runs in a bundle of evidence: Node.js and the broker's public key, nothing of agentgate. It goes by
 * docs/recording-format.md alone, so that what it finds does not rest on the program that made the bundle.
 */
export const evidenceVerifier = String.raw`// node verify.mjs [broker.pem]
//
// Holds this folder against itself and against what the broker countersigned (docs/recording-format.md of agentgate):
//   1. each file is as SHA256SUMS says, and there is no other;
//   2. each manifest is as it was sealed, by the key that its session recorded with;
//   3. with the broker's public key: that key and session were certified by it, and the end of the recording, its last
//      chain value, is what it countersigned;
//   4. verification.jsonl tells of the same events and the same last chain value.
// Exit code 0: all of it holds. 1: something does not.
import { createHash, createPublicKey, verify } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const here = path.dirname(fileURLToPath(import.meta.url))
const spki = Buffer.from('302a300506032b6570032100', 'hex') // RFC 8410: what stands before a raw Ed25519 key
let wrong = 0
const say = (good, text) => {
  if (!good) wrong += 1
  // What is in the files may be anybody's: nothing of it acts on a terminal.
  console.log((good ? 'ok    ' : 'WRONG ') + text.replace(/[^\x20-\x7e]/g, each => '\\u' + each.codePointAt(0).toString(16).padStart(4, '0')))
}
const canonical = value =>
  Array.isArray(value)
    ? '[' + value.map(canonical).join(',') + ']'
    : typeof value === 'object' && value !== null
      ? '{' + Object.keys(value).sort().map(key => JSON.stringify(key) + ':' + canonical(value[key])).join(',') + '}'
      : JSON.stringify(value)
const holds = (rawKey, bytes, signature) => {
  try {
    const key = createPublicKey({ key: Buffer.concat([spki, Buffer.from(rawKey, 'base64')]), format: 'der', type: 'spki' })
    return verify(null, bytes, key, Buffer.from(signature, 'base64'))
  } catch {
    return false
  }
}
const signedText = (title, { signature, ...content }) => Buffer.from('agentgate ' + title + ' 1\n' + canonical(content) + '\n')
const sha256 = bytes => createHash('sha256').update(bytes).digest('hex')

let broker = null
if (process.argv[2] !== undefined) {
  const der = createPublicKey(readFileSync(process.argv[2])).export({ format: 'der', type: 'spki' })
  if (der.length !== 44 || !der.subarray(0, 12).equals(spki)) throw new Error(process.argv[2] + ' holds no Ed25519 key')
  broker = der.subarray(12).toString('base64')
}

const filesIn = folder =>
  readdirSync(path.join(here, folder)).flatMap(name => {
    const file = folder === '' ? name : folder + '/' + name
    return lstatSync(path.join(here, file)).isDirectory() ? filesIn(file) : [file]
  })
const listed = new Map(
  readFileSync(path.join(here, 'SHA256SUMS'), 'utf8').split('\n').filter(Boolean).map(line => [line.slice(66), line.slice(0, 64)]),
)
for (const file of filesIn('').filter(each => each !== 'SHA256SUMS'))
  if (!listed.has(file)) say(false, file + ' is not in SHA256SUMS')
let same = 0
for (const [file, sum] of listed) {
  let found = 'nothing'
  try {
    found = sha256(readFileSync(path.join(here, file)))
  } catch {}
  if (found === sum) same += 1
  else say(false, file + ' is not as SHA256SUMS says')
}
say(same === listed.size, same + ' of ' + listed.size + ' files are as SHA256SUMS says')

const told = new Map(
  readFileSync(path.join(here, 'verification.jsonl'), 'utf8').split('\n').filter(Boolean).map(line => {
    const each = JSON.parse(line)
    return [each.session, each]
  }),
)
for (const session of told.keys()) {
  const { result, head, events } = told.get(session)
  let bytes
  try {
    bytes = readFileSync(path.join(here, 'manifests', session + '.json'))
  } catch {
    say(result !== 'whole', session + ' is ' + result + (result === 'whole' ? ', and its manifest is not here' : ': it has no manifest to hold it against'))
    continue
  }
  try {
    const { seal, ...sealed } = JSON.parse(bytes)
    const text = Buffer.from(canonical(sealed))
    const intact =
      bytes.equals(Buffer.from(canonical({ ...sealed, seal }) + '\n')) &&
      (seal.algorithm === 'ed25519' ? holds(seal.key, text, seal.value) : sha256(text) === seal.value)
    const key = sealed.start?.key ?? null
    const own = sealed.state === 'recovered' || key === null || (seal.algorithm === 'ed25519' && seal.key === key)
    if (!intact || !own || sealed.session !== session) {
      say(result === 'altered', session + ' is ' + result + ': its manifest is not as it was sealed')
      continue
    }
    if (result === 'altered') {
      say(true, session + ' is altered, as verification.jsonl says')
      continue
    }
    if (sealed.head !== head || sealed.events !== events) {
      say(false, session + ': verification.jsonl tells of another recording than its manifest')
      continue
    }
    const what = session + ': ' + events + ' events, head ' + head.slice(0, 8)
    if (broker === null) {
      say(true, what + (seal.algorithm === 'ed25519' ? ', sealed by its own key' : ', not signed') + ' (not held against a broker: node verify.mjs broker.pem)')
      continue
    }
    const certificate = sealed.start?.certificate
    if (certificate === undefined || certificate === null) {
      say(false, what + ': no broker has certified it')
      continue
    }
    const certified =
      certificate.key === broker &&
      certificate.session === session &&
      certificate.recordingKey === key &&
      certificate.principal === sealed.start.subject.principal.name &&
      holds(broker, signedText('certificate', certificate), certificate.signature)
    if (!certified) {
      say(false, what + ': this broker has not certified it')
      continue
    }
    let receipts = []
    try {
      receipts = readFileSync(path.join(here, 'receipts', session + '.jsonl'), 'utf8').split('\n').filter(Boolean).map(line => JSON.parse(line))
    } catch {}
    const good = receipts.filter(each => each.key === broker && each.session === session && holds(broker, signedText('receipt', each), each.signature))
    const beyond = good.some(each => each.sequence > events || (each.sequence === events && each.head !== head))
    const last = good.reduce((most, each) => (each.sequence > (most?.sequence ?? 0) ? each : most), undefined)
    if (beyond) say(false, what + ': the broker saw another recording, or more of it')
    else if (last === undefined) say(false, what + ': certified, and nothing of it was countersigned')
    else if (last.sequence === events)
      say(true, what + ', countersigned to its end at ' + new Date(last.at).toISOString())
    else say(true, what + ', countersigned up to event ' + last.sequence + ' at ' + new Date(last.at).toISOString() + '; what came after is not')
  } catch {
    say(false, session + ': what is said of it cannot be read')
  }
}
for (const name of readdirSync(path.join(here, 'manifests'))) {
  const session = name.replace(/\.json$/, '')
  if (!told.has(session)) say(false, session + ' has a manifest, and verification.jsonl does not tell of it')
}
console.log(wrong === 0 ? 'all of it holds' : wrong + ' things do not hold')
process.exitCode = wrong === 0 ? 0 : 1
`
