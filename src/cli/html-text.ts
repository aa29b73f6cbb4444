const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** Text as text, in elements and in quoted attributes. */
export function html(text: string): string {
  return text.replace(/[&<>"']/g, character => entities[character] ?? '')
}
