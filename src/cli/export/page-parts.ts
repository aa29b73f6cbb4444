// What is inside the page besides the recording. Its content security policy allows exactly these two, by their hashes.

export const style = `
:root { color-scheme: light dark; --bad: #b3261e; --good: #1b7f3b; --wait: #9a6700; --dim: #6b7280; --line: #8884 }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --good: #7ee2a0; --wait: #f0c36d; --dim: #9aa1ad } }
body { display: flex; flex-direction: column; margin: 0 auto; max-width: 80rem; padding: 1rem; font: 14px/1.45 system-ui, sans-serif }
h1 { font-size: 1.2rem; margin: 0 0 .5rem }
.about { order: 0 } .search { order: 1 } .timeline { order: 2 } main { order: 3 } footer { order: 4; color: var(--dim); margin-top: 2rem }
.search { position: sticky; top: 0; background: Canvas; padding: .5rem 0; z-index: 1 }
.search input[type=search] { font: inherit; width: min(30rem, 60%); padding: .25rem .5rem }
.timeline svg { width: 100%; height: 24px } .timeline .line { fill: var(--line) }
svg .bad { fill: var(--bad) } svg .good { fill: var(--good) } svg .waiting { fill: var(--wait) }
.about th { text-align: left; color: var(--dim); font-weight: normal; padding-right: 1rem; vertical-align: top }
.entry { margin: .25rem 0; padding: .125rem .5rem; border-left: 3px solid transparent; overflow-x: auto; scroll-margin: 4rem; content-visibility: auto; contain-intrinsic-size: auto 2rem }
.entry:target { background: #8882 }
.action { margin-top: .75rem } .action header, .note, .outcome, .detail { color: var(--dim) } .detail { margin: 0 }
.action.bad { border-color: var(--bad) } .action.good { border-color: var(--good) } .action.waiting { border-color: var(--wait) }
.bad .word, td.bad, p.bad { color: var(--bad) } .good .word, td.good { color: var(--good) } .waiting .word, p.waiting { color: var(--wait) }
.plain .word { display: none }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.4 ui-monospace, monospace }
.action > pre { font-weight: 600 } .terminal { border-color: var(--line) } .result { margin-left: 1rem }
.result table { border-collapse: collapse; font: 13px/1.4 ui-monospace, monospace }
.result td, .result th { border: 1px solid var(--line); padding: 0 .4rem; text-align: left; vertical-align: top }
.null { color: var(--dim) } [hidden] { display: none }
`

export const script = `
'use strict'
{
  const box = document.getElementById('q'), refused = document.getElementById('refused'), found = document.getElementById('found')
  const entries = Array.from(document.querySelectorAll('.entry'), element => ({ element, text: null }))
  let timer
  const search = () => {
    const wanted = box.value.toLowerCase()
    let count = 0
    for (const entry of entries) {
      const { element } = entry
      if (wanted !== '') entry.text ??= element.textContent.toLowerCase()
      const outcome = element.dataset.outcome
      const shown = (!refused.checked || (outcome !== undefined && outcome !== 'allowed')) && (wanted === '' || entry.text.includes(wanted))
      element.hidden = !shown
      if (shown) count += 1
    }
    found.textContent = wanted === '' && !refused.checked ? '' : count + ' of ' + entries.length
  }
  box.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(search, 150) })
  refused.addEventListener('change', search)
}
`
