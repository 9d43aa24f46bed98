//! Who looks at a page: on what, in which light, where.

use jiff::SignedDuration;
use serde_json::{Value, json};

/// A screen and whoever sits at it. Begin with one of the four sizes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    /// In CSS pixels.
    pub(super) width: u32,
    pub(super) height: u32,
    scale: u32,
    phone: bool,
    dark: bool,
    still: bool,
    zone: &'static str,
    language: &'static str,
    script: bool,
    clock_off: SignedDuration,
}

impl View {
    /// 1440 by 900.
    pub(crate) const DESKTOP: Self = Self {
        width: 1440,
        height: 900,
        scale: 1,
        phone: false,
        dark: false,
        still: false,
        zone: "Europe/Berlin",
        language: "en-US",
        script: true,
        clock_off: SignedDuration::ZERO,
    };
    /// 390 by 844, touched with fingers.
    pub(crate) const PHONE: Self = Self { width: 390, height: 844, scale: 2, phone: true, ..Self::DESKTOP };
    /// The narrowest that a page must bear.
    pub(crate) const NARROW: Self = Self { width: 320, height: 640, scale: 2, phone: true, ..Self::DESKTOP };
    /// A screen of 4K on the wall.
    pub(crate) const WALL: Self = Self { width: 3840, height: 2160, ..Self::DESKTOP };

    /// The same in the dark.
    pub(crate) const fn dark(self) -> Self {
        Self { dark: true, ..self }
    }

    /// The same for whom nothing may move.
    pub(crate) const fn still(self) -> Self {
        Self { still: true, ..self }
    }

    /// The same in another time zone (Berlin otherwise).
    pub(crate) const fn zone(self, zone: &'static str) -> Self {
        Self { zone, ..self }
    }

    /// The same with another language, such as `pt-BR` (`en-US` otherwise).
    pub(crate) const fn language(self, language: &'static str) -> Self {
        Self { language, ..self }
    }

    /// The same without scripts; the test's own still run.
    pub(crate) const fn without_script(self) -> Self {
        Self { script: false, ..self }
    }

    /// The same with a clock that is so much ahead.
    pub(crate) const fn clock_off(self, by: SignedDuration) -> Self {
        Self { clock_off: by, ..self }
    }

    /// What the browser is told when this one looks, and may be told again at any time.
    pub(super) fn looks(&self) -> Vec<(&'static str, Value)> {
        let scheme = if self.dark { "dark" } else { "light" };
        let motion = if self.still { "reduce" } else { "no-preference" };
        let screen = json!({"width": self.width, "height": self.height, "deviceScaleFactor": self.scale,
            "mobile": self.phone, "screenWidth": self.width, "screenHeight": self.height});
        let media = json!({"media": "", "features": [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]});
        vec![
            ("Emulation.setDeviceMetricsOverride", screen),
            ("Emulation.setTouchEmulationEnabled", json!({"enabled": self.phone})),
            ("Emulation.setEmulatedMedia", media),
        ]
    }

    /// What the browser is told once, before it goes anywhere.
    pub(super) fn sits(&self, agent: &str) -> Vec<(&'static str, Value)> {
        let mut all = vec![
            ("Emulation.setTimezoneOverride", json!({"timezoneId": self.zone})),
            ("Emulation.setLocaleOverride", json!({"locale": self.language.replace('-', "_")})),
            ("Emulation.setUserAgentOverride", json!({"userAgent": agent, "acceptLanguage": self.language})),
            ("Emulation.setScriptExecutionDisabled", json!({"value": !self.script})),
            // Every page believes that it is the one in front.
            ("Emulation.setFocusEmulationEnabled", json!({"enabled": true})),
        ];
        if !self.clock_off.is_zero() {
            let source = format!(
                "window.Date = new Proxy(Date, {{
                    construct: (real, given) => given.length ? new real(...given) : new real(real.now() + {off}),
                    get: (real, name) => name === 'now' ? () => real.now() + {off} : real[name],
                }})",
                off = self.clock_off.as_millis()
            );
            all.push(("Page.addScriptToEvaluateOnNewDocument", json!({"source": source})));
        }
        all
    }
}
