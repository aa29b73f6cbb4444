import { StringDecoder } from 'node:string_decoder'
import type { DisplayEvent, FrameDecoder } from '../protocol.ts'

/** Bodies as text, as they came; bytes that are no text show as �. */
export class BodyDecoder implements FrameDecoder {
  readonly #text = new StringDecoder('utf8')

  push(bytes: Buffer): DisplayEvent[] {
    return show(this.#text.write(bytes))
  }

  end(): DisplayEvent[] {
    return show(this.#text.end())
  }
}

function show(text: string): DisplayEvent[] {
  return text === '' ? [] : [{ kind: 'text', text }]
}
