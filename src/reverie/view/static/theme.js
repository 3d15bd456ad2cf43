// Before the first paint, so that a dark page does not flash.
const kept = localStorage.getItem("theme");
if (kept) document.documentElement.dataset.theme = kept;
