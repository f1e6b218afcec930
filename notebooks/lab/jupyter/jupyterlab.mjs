// Drives JupyterLab: see the script `jupyterlab` beside this file.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';

const here = path.dirname(new URL(import.meta.url).pathname);
const root = path.resolve(here, '../..');
const notebook = '01_quantize_dequantize.ipynb';
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'quantlens-lab-'));
// A copy: JupyterLab saves what it opens. The prelude is found beside it.
fs.copyFileSync(path.join(root, 'notebooks', notebook), path.join(work, notebook));
fs.symlinkSync(path.join(root, 'notebooks', 'prelude'), path.join(work, 'prelude'));
const settings = path.join(work, 'settings');
const set = (file, value) => {
  fs.mkdirSync(path.dirname(path.join(settings, file)), { recursive: true });
  fs.writeFileSync(path.join(settings, file), JSON.stringify(value));
};
// All cells are in the page, not only those in view.
set('@jupyterlab/notebook-extension/tracker.jupyterlab-settings', { windowingMode: 'none' });
set('@jupyterlab/apputils-extension/notification.jupyterlab-settings', { fetchNews: 'false', checkForUpdates: false });

const port = 20000 + (process.pid % 10000);
const token = 'quantlens';
const server = spawn(
  path.join(root, 'target/venv/bin/jupyter'),
  ['lab', '--no-browser', '--allow-root', '--expose-app-in-browser', `--port=${port}`, '--ServerApp.port_retries=0', `--IdentityProvider.token=${token}`, `--ServerApp.root_dir=${work}`],
  { env: { ...process.env, JUPYTERLAB_SETTINGS_DIR: settings }, stdio: ['ignore', 'ignore', 'pipe'] },
);
let log = '';
server.stderr.on('data', (data) => (log += data));

const assert = (condition, message) => {
  if (!condition) throw new Error(message);
};
let browser;
try {
  const base = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries++) {
    const up = await fetch(`${base}/api/status?token=${token}`).then((r) => r.ok, () => false);
    if (up) break;
    assert(tries < 600, `the server did not start:\n${log}`);
    await new Promise((done) => setTimeout(done, 100));
  }
  browser = await chromium.launch({
    executablePath: process.argv[2],
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  const page = await browser.newPage({ viewport: { width: 1250, height: 1000 } });
  await page.goto(`${base}/lab/tree/${notebook}?token=${token}`);
  await page.waitForSelector('.jp-Notebook .jp-CodeCell', { timeout: 120000 });
  const run = (command, args) => page.evaluate(([c, a]) => window.jupyterapp.commands.execute(c, a), [command, args]);

  // As it is opened, before anything has run: not trusted, and it reads well.
  await page.waitForSelector('table.dataframe', { timeout: 60000 });
  await page.screenshot({ path: path.join(here, 'opened.png') });
  await page.waitForFunction(() => document.querySelector('.jp-KernelName')?.textContent?.includes('Rust (quantlens)'), null, { timeout: 60000 });

  await run('notebook:clear-all-cell-outputs');
  await page.waitForFunction(() => !document.querySelector('.jp-OutputArea-output'));
  const start = Date.now();
  await run('notebook:run-all-cells');
  const cells = await page.locator('.jp-CodeCell').count();
  await page.waitForFunction(
    (count) => {
      const last = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map((prompt) => prompt.textContent.trim()).filter((text) => text !== '').at(-1);
      return last === `[${count}]:`;
    },
    cells,
    { timeout: 300000 },
  );
  console.log(`ran ${cells} cells in ${((Date.now() - start) / 1000).toFixed(1)} s`);

  const seen = await page.evaluate(() => ({
    tables: document.querySelectorAll('.jp-OutputArea-output table.dataframe').length,
    figures: document.querySelectorAll('.jp-RenderedSVG, .jp-RenderedImage').length,
    errors: document.querySelectorAll('[data-mime-type="application/vnd.jupyter.error"]').length,
    styles: document.querySelectorAll('.jp-OutputArea-output table [style]').length,
    background: getComputedStyle(document.querySelector('.jp-Notebook')).backgroundColor,
    ink: getComputedStyle(document.querySelector('.jp-OutputArea-output table.dataframe td')).color,
  }));
  console.log(JSON.stringify(seen));
  const committed = JSON.parse(fs.readFileSync(path.join(root, 'notebooks', notebook)));
  const data = committed.cells.flatMap((cell) => cell.outputs ?? []).map((output) => output.data ?? {});
  assert(seen.tables === data.filter((d) => d['text/html']).length, 'tables are missing');
  assert(seen.figures === data.filter((d) => d['image/png']).length, 'figures are missing');
  assert(seen.errors === committed.cells.flatMap((cell) => cell.outputs ?? []).filter((o) => o.output_type === 'error').length, 'there are errors');
  assert(seen.styles === 0, 'a table has inline style');

  await page.setViewportSize({ width: 1250, height: 1400 });
  await page.locator('.jp-RenderedSVG, .jp-RenderedImage').nth(1).scrollIntoViewIfNeeded();
  await page.waitForTimeout(1000);
  await page.screenshot({ path: path.join(here, 'light.png') });
  await run('apputils:change-theme', { theme: 'JupyterLab Dark' });
  await page.waitForFunction((ink) => getComputedStyle(document.querySelector('.jp-OutputArea-output table.dataframe td')).color !== ink, seen.ink, { timeout: 30000 });
  await page.screenshot({ path: path.join(here, 'dark.png') });

  // Tab and Shift-Tab, as a person uses them.
  await page.setViewportSize({ width: 1250, height: 900 });
  await run('notebook:insert-cell-below');
  await page.keyboard.press('Enter');
  await page.keyboard.type('let s = Scheme::asym');
  await page.keyboard.press('Tab');
  await page.waitForFunction(() => document.querySelector('.jp-Notebook-cell.jp-mod-active .cm-content')?.textContent === 'let s = Scheme::asymmetric' || document.querySelector('.jp-Completer'), null, { timeout: 60000 });
  await page.waitForTimeout(500);
  if (await page.locator('.jp-Completer').count()) await page.keyboard.press('Enter');
  await page.keyboard.press('Shift+Tab');
  await page.waitForFunction(() => document.querySelector('.jp-Tooltip')?.textContent.includes('pub fn asymmetric'), null, { timeout: 60000 });
  await page.screenshot({ path: path.join(here, 'help.png') });
  console.log('pictures: target/jupyterlab');
} catch (error) {
  console.error(`error: ${error.message}\n${log.split('\n').slice(-15).join('\n')}`);
  process.exitCode = 1;
} finally {
  await browser?.close();
  server.kill('SIGINT');
  server.kill('SIGTERM');
  await new Promise((done) => (server.exitCode === null ? server.on('exit', done) : done()));
  fs.rmSync(work, { recursive: true, force: true });
}
