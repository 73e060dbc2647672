//! What a visitor is told, in the languages that are built in.

use http::StatusCode;

/// The languages that are built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    TraditionalChinese,
    SimplifiedChinese,
}

/// The words of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Words<'a> {
    pub(crate) title: &'a str,
    pub(crate) detail: &'a str,
}

impl Language {
    pub(crate) const ALL: [Self; 3] = [
        Self::English,
        Self::TraditionalChinese,
        Self::SimplifiedChinese,
    ];

    /// The tag by RFC 5646.
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::TraditionalChinese => "zh-Hant",
            Self::SimplifiedChinese => "zh-Hans",
        }
    }

    /// In front of the code.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::English => "If you ask us about this, please give this code:",
            Self::TraditionalChinese => "若您向我們詢問此事，請提供這組代碼：",
            Self::SimplifiedChinese => "如需向我们咨询，请提供此代码：",
        }
    }

    /// The link to the start page.
    pub(crate) const fn home(self) -> &'static str {
        match self {
            Self::English => "Go to the start page",
            Self::TraditionalChinese => "回到首頁",
            Self::SimplifiedChinese => "返回首页",
        }
    }

    /// The link that asks again.
    pub(crate) const fn again(self) -> &'static str {
        match self {
            Self::English => "Try again",
            Self::TraditionalChinese => "再試一次",
            Self::SimplifiedChinese => "重试",
        }
    }

    /// What an answer with this status says.
    pub(crate) fn words(self, status: StatusCode) -> Words<'static> {
        let [english, traditional, simplified] = all(status);
        let (title, detail) = match self {
            Self::English => english,
            Self::TraditionalChinese => traditional,
            Self::SimplifiedChinese => simplified,
        };
        Words { title, detail }
    }
}

type Row = [(&'static str, &'static str); 3];

fn all(status: StatusCode) -> Row {
    match status.as_u16() {
        401 => [
            (
                "Please sign in",
                "This page is only for people who have signed in.",
            ),
            ("請先登入", "登入之後才能看到這一頁。"),
            ("请先登录", "登录之后才能看到这一页。"),
        ],
        403 => [
            ("No access", "You do not have permission to see this page."),
            ("沒有權限", "您沒有權限查看這一頁。"),
            ("没有权限", "您没有权限查看此页面。"),
        ],
        404 => [
            (
                "Page not found",
                "There is no page at this address. It may have moved, or the address may be mistyped.",
            ),
            (
                "找不到頁面",
                "這個網址沒有頁面。頁面可能已經移走，或是網址打錯了。",
            ),
            (
                "找不到页面",
                "此网址没有页面。页面可能已移走，或者网址输入有误。",
            ),
        ],
        405 => [
            (
                "This can't be done here",
                "This address does not support what was asked of it.",
            ),
            ("這裡無法這樣做", "這個網址不支援所要求的操作。"),
            ("此处无法这样做", "此网址不支持所请求的操作。"),
        ],
        408 => [
            (
                "Your request took too long",
                "It did not arrive in time. Please try again.",
            ),
            ("請求逾時", "我們沒有及時收到完整的請求，請再試一次。"),
            ("请求超时", "我们没有及时收到完整的请求，请重试。"),
        ],
        409 => [
            (
                "Already exists",
                "What you sent conflicts with something that is already there. Nothing was changed.",
            ),
            ("資料重複", "您送出的資料和已有的資料衝突，沒有任何變更。"),
            ("数据冲突", "您提交的数据与已有数据冲突，没有做任何更改。"),
        ],
        410 => [
            ("Gone", "This page has been removed."),
            ("頁面已移除", "這一頁已經移除了。"),
            ("页面已移除", "此页面已被移除。"),
        ],
        413 => [
            ("Too large", "What you sent is larger than we can take."),
            ("檔案太大", "您送出的內容超過我們能接受的大小。"),
            ("内容过大", "您提交的内容超过了我们能接受的大小。"),
        ],
        415 => [
            (
                "Unknown format",
                "We can't read the format of what you sent.",
            ),
            ("不支援的格式", "我們無法讀取您送出的格式。"),
            ("不支持的格式", "我们无法读取您提交的格式。"),
        ],
        422 => [
            (
                "Please check what you entered",
                "Something in it is missing or can't be accepted. Nothing was changed.",
            ),
            (
                "請檢查您填寫的內容",
                "其中有缺漏或無法接受的資料，沒有任何變更。",
            ),
            (
                "请检查您填写的内容",
                "其中有缺失或无法接受的数据，没有做任何更改。",
            ),
        ],
        429 => [
            (
                "Too many requests",
                "You were faster than we can follow. Please wait a moment and try again.",
            ),
            ("請求太頻繁", "請稍候片刻，再試一次。"),
            ("请求过于频繁", "请稍等片刻，然后重试。"),
        ],
        499..=501 | 505..=599 => [
            (
                "Something went wrong",
                "That is our fault, not yours. It has been recorded, and we will look into it.",
            ),
            (
                "系統錯誤",
                "這是我們的問題，與您無關。錯誤已經記錄下來，我們會處理。",
            ),
            (
                "系统错误",
                "这是我们的问题，与您无关。错误已被记录，我们会处理。",
            ),
        ],
        502 => [
            (
                "A service we need has failed",
                "Another service that this page depends on gave no proper answer. Please try again in a moment.",
            ),
            (
                "外部服務發生問題",
                "這一頁所需的另一項服務沒有正確回應，請稍後再試。",
            ),
            (
                "外部服务出现问题",
                "此页面所需的另一项服务没有正确响应，请稍后重试。",
            ),
        ],
        503 => [
            (
                "Temporarily unavailable",
                "We can't answer at the moment. Please try again in a little while.",
            ),
            ("系統暫時不可用", "我們目前無法處理您的請求，請稍後再試。"),
            ("系统暂时不可用", "我们目前无法处理您的请求，请稍后重试。"),
        ],
        504 => [
            (
                "A service we need does not answer",
                "Another service that this page depends on took too long. Please try again in a moment.",
            ),
            (
                "外部服務無回應",
                "這一頁所需的另一項服務沒有及時回應，請稍後再試。",
            ),
            (
                "外部服务无响应",
                "此页面所需的另一项服务没有及时响应，请稍后重试。",
            ),
        ],
        _ => [
            (
                "We can't understand this request",
                "Something in it is not as it should be. Please go back, check it and try again.",
            ),
            (
                "無法處理這個請求",
                "請求的內容有誤，請回到上一頁檢查後再試一次。",
            ),
            ("无法处理此请求", "请求的内容有误，请返回上一页检查后重试。"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_words_in_every_language_and_no_two_languages_share_them() {
        for status in 400..600 {
            let status = StatusCode::from_u16(status).unwrap();
            let words = Language::ALL.map(|language| language.words(status));
            for (index, one) in words.iter().enumerate() {
                assert!(!one.title.is_empty() && !one.detail.is_empty());
                assert!(
                    !one.title.contains(['<', '&']) && !one.detail.contains(['<', '&']),
                    "{one:?}"
                );
                for other in &words[index + 1..] {
                    assert_ne!(one.detail, other.detail, "{status}");
                }
            }
        }
    }

    #[test]
    fn each_chinese_is_written_in_its_own_characters() {
        // Characters that exist in one of the two only, of those that these texts use.
        let only_simplified = "页务误请数据统错会处试稍输这个这应响没设备网为无过频"
            .chars()
            .filter(|c| !"稍".contains(*c))
            .collect::<String>();
        let only_traditional = "頁務誤請數據統錯會處試輸這個應響沒設備網為無過頻";
        for status in 400..600 {
            let status = StatusCode::from_u16(status).unwrap();
            let text = |language: Language| {
                let words = language.words(status);
                format!(
                    "{}{}{}{}{}",
                    words.title,
                    words.detail,
                    language.code(),
                    language.home(),
                    language.again()
                )
            };
            let wrong = |text: &str, forbidden: &str, allowed: &str| {
                text.chars()
                    .find(|c| forbidden.contains(*c) && !allowed.contains(*c))
            };
            let traditional = text(Language::TraditionalChinese);
            assert_eq!(
                wrong(&traditional, &only_simplified, only_traditional),
                None,
                "{traditional}"
            );
            let simplified = text(Language::SimplifiedChinese);
            assert_eq!(
                wrong(&simplified, only_traditional, &only_simplified),
                None,
                "{simplified}"
            );
        }
    }
}
