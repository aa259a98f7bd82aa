// The style sheet of a page, but for the colours.
#pragma once

namespace costeff {

inline constexpr const char* kPageStyle = R"CSS(
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--ink);line-height:1.5;
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main,header,footer{max-width:72rem;margin:0 auto;padding:0 1rem}
header{padding-top:2rem}
h1{font-size:clamp(1.45rem,1.05rem + 1.9vw,2.3rem);line-height:1.2;margin:.15em 0 .4em;text-wrap:balance;
letter-spacing:-.01em}
h2{font-size:1.2rem;margin:2.2rem 0 .8rem}
h3{font-size:1rem;margin:0 0 .4rem}
p{margin:0 0 .8rem}
.kicker{color:var(--accent);font-weight:600;margin:0}
.small{margin-top:.5rem}
.facts,.small{color:var(--muted);font-size:.9rem}
.notes{border-left:3px solid var(--orange);background:var(--paper);border-radius:0 8px 8px 0;
padding:.7rem 1rem .7rem 1.9rem;margin:1rem 0}
.scroll{overflow-x:auto;background:var(--paper);border:1px solid var(--rule);border-radius:10px}
table{border-collapse:collapse;width:100%;font-size:.95rem}
th,td{padding:.5rem .8rem;text-align:right;vertical-align:top;white-space:nowrap;font-variant-numeric:tabular-nums}
th:first-child{text-align:left}
tbody tr{border-top:1px solid var(--rule)}
thead th::first-letter{text-transform:uppercase}
thead th{color:var(--muted);font-weight:600;font-size:.85rem;vertical-align:bottom}
tbody th{font-weight:600}
td small{display:block;color:var(--muted)}
tr.chosen th{color:var(--accent)}
.heat th,.heat td{padding:.3rem .45rem;font-size:.85rem}.heat thead th{white-space:normal}
.left td{text-align:left}
.heat th:first-child{position:sticky;left:0;background:var(--paper)}
td.wrong{outline:2px solid var(--orange);outline-offset:-2px;font-weight:700}
.answer{background:var(--paper);border-left:3px solid var(--accent);border-radius:0 8px 8px 0;padding:.7rem 1rem;margin:0 0 .8rem}
.answer h3{margin-bottom:.2rem}.answer ul{margin:0;padding-left:1.2rem}.answer li{margin:.35rem 0}
section>h3{margin:1.5rem 0 .5rem}h2+h3{margin-top:0!important}
dt{font-weight:600;margin-top:.8rem}dd{margin:0 0 .2rem 0}
figcaption p{margin:.45rem 0 0;color:var(--ink)}section>.scroll{margin-bottom:.8rem}
@media (max-width:40rem){table{font-size:.85rem}th,td{padding:.45rem .5rem}
tbody th{white-space:normal;min-width:5.5rem}}
.figures{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));align-items:start}
figure{margin:0;padding:clamp(.7rem,2.5vw,1rem);background:var(--paper);border:1px solid var(--rule);border-radius:10px;
}
figure svg{display:block;width:100%;height:auto;max-width:30rem;margin:0 auto}
figure svg *{font-family:inherit}
.lead{grid-column:1/-1;max-width:none}
@media (min-width:62rem){.lead{display:grid;grid-template-columns:minmax(0,3fr) minmax(0,2fr);column-gap:2rem}
.lead svg{max-width:36rem}
.lead h3{grid-column:1/-1}.lead figcaption{font-size:1rem;align-self:center}}
figcaption{color:var(--muted);font-size:.9rem;margin-top:.5rem}
.missing{color:var(--muted);font-style:italic;margin:0}
details{background:var(--paper);border:1px solid var(--rule);border-radius:10px;margin:0 0 .6rem}
summary{cursor:pointer;padding:.7rem 1rem;font-weight:600}
details .scroll{border:0;border-radius:0;border-top:1px solid var(--rule)}
.settings th{font-weight:400;color:var(--muted)}
.settings td{text-align:left;white-space:pre-wrap;overflow-wrap:anywhere;width:75%}
pre{background:var(--paper);border:1px solid var(--rule);border-radius:10px;padding:.8rem 1rem;overflow-x:auto;
margin:0 0 .8rem;font-size:.9rem}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
footer{color:var(--muted);font-size:.85rem;padding-top:1.5rem;padding-bottom:2.5rem}
)CSS";

}  // namespace costeff
