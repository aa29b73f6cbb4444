/** The WASM build itself: unlike the package's own binding it can be made anew after an overflow has broken one. */
declare module 'libpg-query/wasm/libpg-query.js' {
  export interface PgQueryModule {
    _malloc(bytes: number): number
    _free(pointer: number): void
    _wasm_parse_query_raw(text: number): number
    _wasm_free_parse_result(result: number): void
    _wasm_parse_plpgsql(text: number): number
    _wasm_fingerprint(text: number): number
    _wasm_scan(text: number): number
    _wasm_free_string(text: number): void
    lengthBytesUTF8(text: string): number
    stringToUTF8(text: string, pointer: number, bytes: number): void
    UTF8ToString(pointer: number): string
    readonly HEAPU8: Uint8Array
    getValue(pointer: number, type: 'i32'): number
  }
  const create: () => Promise<PgQueryModule>
  export default create
}
