/** What a browser shows at the demo's provider. `form` comes from oidc-provider, escaped. */
export function codePage(form: string, refusal: string | undefined): string {
  return page(
    'Log in',
    `${refusal === undefined ? '<p>Type the code that your terminal shows.</p>' : `<p class="no">${refusal}</p>`}
    ${form}
    <button type="submit" form="op.deviceInputForm">Go on</button>`,
  )
}

/** @param code of letters and a dash: oidc-provider made it */
export function confirmPage(form: string, code: string, email: string): string {
  return page(
    'Is this your terminal?',
    `<p>It wants to log in as <b>${email}</b> and shows</p>
    <p class="code">${code}</p>
    ${form}
    <button autofocus type="submit" form="op.deviceConfirmForm">Yes, log it in</button>
    <button class="plain" type="submit" form="op.deviceConfirmForm" name="abort" value="yes">No, refuse</button>`,
  )
}

export function successPage(): string {
  return page('Logged in', '<p>Back to the terminal. This page can be closed.</p>')
}

export function failedPage(): string {
  return page('That did not work', '<p class="no">Start again from the terminal.</p>')
}

function page(title: string, content: string): string {
  return `<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>${title} · agentgate demo</title>
  <style>
    body { font: 16px/1.5 system-ui, sans-serif; color: #1c2330; background: #f3f5f8; margin: 12vh 1rem }
    main { max-width: 22rem; margin: auto; padding: 2rem; background: #fff; border-radius: 12px; box-shadow: 0 2px 16px #0002 }
    h1 { font-size: 1.3rem; margin: 0 0 1rem }
    small { color: #667 }
    .code { font: 600 1.9rem ui-monospace, monospace; letter-spacing: .08em; text-align: center; margin: 1rem 0 }
    .no { color: #b3261e }
    input[type=text] { font: 1.4rem ui-monospace, monospace; width: 100%; box-sizing: border-box; padding: .4rem; text-transform: uppercase; text-align: center }
    button { font: inherit; font-weight: 600; width: 100%; margin-top: .8rem; padding: .6rem; border: 0; border-radius: 8px; background: #1f6feb; color: #fff; cursor: pointer }
    button.plain { background: none; color: #667 }
  </style>
</head>
<body>
  <main>
    <h1>${title}</h1>
    ${content}
    <p><small>The demo’s own identity provider: on this machine only, gone when the demo is over.</small></p>
  </main>
</body>
</html>`
}
