// Browsers come from the machine or from a package; puppeteer must never download one.
module.exports = { skipDownload: true };
